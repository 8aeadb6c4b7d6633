"""The device that is trained on, and several processes that teach one model, each with batches of its own: every step takes the mean of their gradients."""
import os, signal, socket
import torch
import torch.distributed as dist
from cores import own


def arguments(ap):
    """How a run is spread."""
    ap.add_argument('--threads', type=int, default=1); ap.add_argument('--processes', type=int, default=1, help='each takes pages of its own; gradients are averaged')
    ap.add_argument('--device', default='cpu', help='such as cuda; all processes share it: what is asked is made by processors')


def spawn(teach, a):
    """Calls teach(rank, a) in `a.processes` processes, with `a.device` for all that is made there."""
    if a.processes == 1: torch.set_default_device(a.device); return teach(0, a)
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(s.getsockname()[1]))
    torch.multiprocessing.spawn(joined, (teach, a), a.processes)


def joined(rank, teach, a):
    # A process that was started in the background ignores the signal by which the first one's end stops the others.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    own(rank, a.processes, a.threads)  # each step waits for the last
    dist.init_process_group('gloo', rank=rank, world_size=a.processes); torch.set_default_device(a.device)
    teach(rank, a)


@torch.no_grad()
def alike(params):
    """Gives every process the parameters of the first."""
    if dist.is_initialized():
        for p in params: dist.broadcast(p.data, 0)


def average(params, elapsed):
    """Averages the gradients; returns what the first process says has elapsed."""
    if not dist.is_initialized(): return elapsed
    for p in params:
        if p.grad is None: p.grad = torch.zeros_like(p)  # another process may have one
    gs = [p.grad for p in params]
    flat = torch.cat([g.flatten() for g in gs] + [torch.tensor([elapsed if dist.get_rank() == 0 else 0.0])])
    dist.all_reduce(flat)
    for g, mean in zip(gs, flat.split([g.numel() for g in gs] + [1])): g.copy_(mean.view_as(g) / dist.get_world_size())
    return flat[-1].item()
