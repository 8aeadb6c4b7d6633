"""Everything from the sources to the exported model: python reproduce.py --real real-pages.tar.xz --work DIR
[--screens 200000] [--tower MINUTES] [--decoder MINUTES] [--threads N] [--processes N] [--device D] [--out DIR]
Every step leaves a mark in DIR and is not repeated; a step that was cut off goes on from its last checkpoint. What each step took is
added to DIR/steps.txt. Needs Node with npm, Chromium (`$CHROMIUM` or /usr/bin/chromium) and requirements.txt."""
import argparse, functools, json, os, pathlib, resource, subprocess, sys, tarfile, time
from cores import own

PAGES = ['stisla@2.3.0', 'equation-admin-template@1.0.0', 'themekit@2.1.0', 'sneat-bootstrap-html-admin-template-free@1.0.0', 'uikit@3.25.29', 'foundation-sites@6.9.0',
         'material-design-lite@1.3.0', 'startbootstrap-sb-admin-2@4.1.4']
TOOLS = ['playwright-core@1.65.1', '@resvg/resvg-js@2.6.2', 'lucide-static@1.62.0', '@tabler/icons@3.51.0', '@mdi/svg@7.4.47', '@fortawesome/fontawesome-free@7.3.1', 'bootstrap-icons@1.13.2'] + \
    [f'@fontsource/{f}' for f in ('ibm-plex-sans', 'inter', 'lato', 'merriweather', 'montserrat', 'noto-serif', 'nunito', 'open-sans', 'poppins', 'raleway', 'roboto', 'source-sans-3', 'ubuntu', 'work-sans')]
# Icons to put on the screens (sprites.mjs), all under licences that allow it; bootstrap-icons is kept for validation.
ICONS = '''akar-icons@1.2.7 ant-design@1.2.9 basil@1.2.4 bx@1.2.3 bxs@1.2.3 carbon@1.2.29 charm@1.2.3 ci@1.2.2 clarity@1.2.4 codicon@1.2.74 el@1.2.2 ep@1.2.4
eva@1.2.3 fa6-regular@1.2.4 fa6-solid@1.2.4 fe@1.2.4 feather@1.2.1 fluent@1.2.60 formkit@1.2.2 foundation@1.2.1 gg@1.2.2 heroicons@1.2.3
hugeicons@1.2.35 humbleicons@1.2.20 ic@1.2.4 icon-park-outline@1.2.4 icon-park-solid@1.2.4 iconamoon@1.2.2 iconoir@1.2.11 ion@1.2.7 ix@1.2.12
jam@1.2.3 lets-icons@1.2.2 lucide@1.2.137 majesticons@1.2.5 maki@1.2.5 material-symbols@1.2.98 mdi@1.2.3 memory@1.2.2 mi@1.2.2 mingcute@1.2.8
mynaui@1.2.19 octicon@1.2.36 pajamas@1.2.15 ph@1.2.2 prime@1.2.5 proicons@1.2.20 radix-icons@1.2.6 ri@1.2.10 si@1.2.17 solar@1.2.13
system-uicons@1.2.4 tabler@1.2.41 tdesign@1.2.19 teenyicons@1.2.2 uil@1.2.3 uim@1.2.3 uiw@1.2.4 zondicons@1.2.2'''.split()
HERE = pathlib.Path(__file__).resolve().parent


class Steps:
    def __init__(self, work):
        self.work = work; work.mkdir(parents=True, exist_ok=True)

    def once(self, name, work):
        """Calls `work` unless it has been done; notes the time by the clock and that of the processors."""
        mark = self.work / f'{name}.done'
        if mark.exists(): return
        print(time.strftime('%H:%M:%S'), name, flush=True)
        used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        t, u = time.time(), used()
        work()
        with open(self.work / 'steps.txt', 'a') as f: print(f'{name}: {(time.time() - t) / 60:.1f} min, {(used() - u) / 3600:.2f} core-hours', file=f)
        mark.touch()


def python(script, *args):
    subprocess.run([sys.executable, HERE / script, *map(str, args)], check=True)


def sources(pages, real):
    (pages / 'real').mkdir(parents=True, exist_ok=True)
    with tarfile.open(real) as t: t.extractall(pages / 'real', filter='data')
    for spec in PAGES:
        to = pages / 'pk' / spec.split('@')[0]
        if to.exists(): continue
        to.parent.mkdir(exist_ok=True)
        file = json.loads(subprocess.run(['npm', 'pack', '--json', spec], cwd=pages, check=True, capture_output=True, text=True).stdout)[0]['filename']
        with tarfile.open(pages / file) as t: t.extractall(pages / 'pk', filter='data')
        (pages / 'pk/package').rename(to); (pages / file).unlink()
    (pages / 'npm').mkdir(exist_ok=True)
    subprocess.run(['npm', 'install', '--no-audit', '--no-fund', '--prefix', pages / 'npm', *TOOLS, *(f'@iconify-json/{i}' for i in ICONS)], check=True)


def render(script, processes, pages, data, *args):
    """`processes` share the pages."""
    running = [subprocess.Popen(['node', HERE / script, '--pages', pages, '--out', data, '--part', f'{k}/{processes}', *map(str, args)], preexec_fn=functools.partial(own, k, processes)) for k in range(processes)]
    if any([p.wait() for p in running]): raise SystemExit('a renderer failed')


def main():
    ap = argparse.ArgumentParser(); ap.add_argument('--real', required=True); ap.add_argument('--work', required=True, type=pathlib.Path); ap.add_argument('--out', type=pathlib.Path)
    ap.add_argument('--screens', type=int, default=200000); ap.add_argument('--tower', type=float, default=300, help='minutes'); ap.add_argument('--decoder', type=float, default=250, help='minutes')
    ap.add_argument('--threads', type=int, default=1); ap.add_argument('--processes', type=int, default=1, help='that render, and those of a training run, which share their gradients'); ap.add_argument('--device', default='cpu')
    a = ap.parse_args(); work = a.work.resolve(); s = Steps(work)
    pages, data, train = work / 'pages', work / 'data', work / 'data/train'
    run = lambda name: work / name / 'last.pt'
    s.once('sources', lambda: sources(pages, os.path.abspath(a.real)))
    s.once('screens', lambda: render('sheets.mjs', a.processes, pages, data, '--screens', a.screens))
    sprites = work / 'sprites'
    s.once('sprites', lambda: subprocess.run(['node', HERE / 'sprites.mjs', '--pages', pages, '--out', sprites], check=True))
    s.once('validation', lambda: render('render.mjs', a.processes, pages, data, '--icons', 8))
    teach = lambda script, name, minutes, *more: python(script, '--data', train, '--run', work / name, '--minutes', minutes, '--threads', a.threads, '--device', a.device, *more)
    s.once('tower-1', lambda: teach('pretrain.py', 'tower-1', a.tower / 5))
    s.once('places', lambda: python('place_positions.py', run('tower-1'), train, work / 'placed.pt'))
    s.once('tower-2', lambda: teach('pretrain.py', 'tower-2', a.tower * 4 / 5, '--back', work / 'placed.pt', '--sprites', sprites, '--find', 2, '--processes', a.processes, '--decay', 0.5))
    # The letters of a name must be known before they can be matched.
    s.once('decoder-1', lambda: teach('train.py', 'decoder-1', a.decoder / 5, '--start', run('tower-2'), '--lane', 0))
    s.once('decoder-2', lambda: teach('train.py', 'decoder-2', a.decoder / 5, '--start', run('decoder-1'), '--lane', 0, '--match', 2))
    s.once('lane', lambda: python('lane.py', run('decoder-2'), run('tower-2'), train, work / 'laned.pt'))
    s.once('decoder-3', lambda: teach('train.py', 'decoder-3', a.decoder / 5, '--start', work / 'laned.pt', '--sprites', sprites, '--q4', '--absent', 0.5, '--icons', 0.15, '--lr', 4e-4, '--processes', a.processes))
    # Tower and decoder together, then the decoder alone on what the tower has become.
    s.once('look', lambda: teach('look.py', 'look', a.decoder / 5, '--start', run('decoder-3'), '--sprites', sprites, '--q4', '--icons', 0.1, '--weight', 1.5, '--absent', 16, '--like', 16, '--processes', a.processes))
    s.once('lane-2', lambda: python('lane.py', run('look'), run('look'), train, work / 'laned-2.pt'))
    s.once('decoder-4', lambda: teach('train.py', 'decoder-4', a.decoder / 5, '--start', work / 'laned-2.pt', '--sprites', sprites, '--q4', '--absent', 0.7, '--icons', 0.15, '--like', 12, '--parts', 0.25, '--lr', 4e-4, '--processes', a.processes))
    s.once('gates', lambda: python('lane.py', run('decoder-4'), '-', train, work / 'final.pt', 0.965))
    s.once('export', lambda: python('export.py', a.out or work / 'nano', work / 'final.pt'))
    s.once('evaluation', lambda: (python('make_eval.py', data / 'val', work / 'eval', '--screens', 24, '--per-screen', 8),
                                  python('evaluate.py', work / 'eval/annotations.json', '--model', a.out or work / 'nano')))


if __name__ == '__main__':
    main()
