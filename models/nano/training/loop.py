"""The loop of train.py and look.py: rates, limits, what is told, checkpoints."""
import os, time
import torch
from parallel import average


class Means(dict):
    """What a run tells of itself: the mean of what was added under each name, one weight to each time."""
    def add(self, name, x):
        if not x.numel(): return
        total, n = self.get(name, (0.0, 0)); self[name] = total + x.detach().float().mean().item(), n + 1

    def __str__(self): return ' '.join(f'{k} {total / n:.3f}' for k, (total, n) in self.items())


class Loop:
    """The steps of a run, in which the caller's body makes gradients: rates go up over `warm` steps and to nothing over the last share
    `a.decay` of `a.minutes`; every 25 steps the means are told, every minute a checkpoint is written and new pages are taken."""
    def __init__(self, rank, a, m, aux, opts, step, turn, pages, params, clipped, warm, fixed, keep):
        """`opts`: (optimiser, its share of the rate); `clipped`: whose gradients are limited together; `fixed` takes gradients away, `keep`
        restores what is built into `m`."""
        self.__dict__.update(rank=rank, a=a, m=m, aux=aux, opts=opts, step=step, turn=turn, pages=pages, params=params, clipped=clipped, warm=warm, fixed=fixed, keep=keep)
        self.told = Means()

    def __iter__(self):
        a, t0, s0, gone = self.a, time.time(), self.step, 0.0  # the share of the time that has passed
        last = t0
        while gone < 1 and self.step < a.steps:
            for o, f in self.opts:
                for g in o.param_groups: g['lr'] = f * a.lr * min(1, (self.step - s0 + 1) / self.warm) * max(0.03, min(1, (1 - gone) / a.decay))
                o.zero_grad(set_to_none=True)
            yield self.step
            gone = average(self.params, (time.time() - t0) / 60 / a.minutes)
            self.fixed(); torch.nn.utils.clip_grad_norm_(self.clipped, 1.0)
            for o, _ in self.opts: o.step()
            self.step += 1; self.keep()
            if self.step % 25 == 0 and not self.rank:
                print(time.strftime('%H:%M:%S'), 'step', self.step, self.told, f's/step {(time.time() - t0) / (self.step - s0):.2f}', flush=True); self.told.clear()
            if time.time() - last > 60: self.pages.refresh(); last = time.time(); self.save()
        self.save()

    def save(self):
        if self.rank: return
        to = os.path.join(self.a.run, 'last.pt')
        torch.save(dict(model=self.m.state_dict(), aux=self.aux.state_dict(), opt=[o.state_dict() for o, _ in self.opts], step=self.step, turn=self.turn), to + '.tmp'); os.replace(to + '.tmp', to)
