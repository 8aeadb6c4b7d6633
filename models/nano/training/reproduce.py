"""Everything from the sources to the exported model: python reproduce.py --real real-pages.tar.xz --work DIR
[--screens 2011] [--tower MINUTES] [--decoder MINUTES] [--threads N] [--out DIR]
Every step leaves a mark in DIR and is not repeated; a step that was cut off goes on from its last checkpoint. What each step took is
added to DIR/steps.txt. Needs Node with npm, Chromium (`$CHROMIUM` or /usr/bin/chromium) and requirements.txt."""
import argparse, json, os, pathlib, resource, subprocess, sys, tarfile, time

PAGES = ['stisla@2.3.0', 'equation-admin-template@1.0.0', 'themekit@2.1.0', 'sneat-bootstrap-html-admin-template-free@1.0.0', 'uikit@3.25.29', 'foundation-sites@6.9.0',
         'material-design-lite@1.3.0', 'startbootstrap-sb-admin-2@4.1.4']
TOOLS = ['playwright-core@1.65.1', 'lucide-static@1.62.0', '@tabler/icons@3.51.0', '@mdi/svg@7.4.47', '@fortawesome/fontawesome-free@7.3.1', 'bootstrap-icons@1.13.2'] + \
    [f'@fontsource/{f}' for f in ('ibm-plex-sans', 'inter', 'lato', 'merriweather', 'montserrat', 'noto-serif', 'nunito', 'open-sans', 'poppins', 'raleway', 'roboto', 'source-sans-3', 'ubuntu', 'work-sans')]
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
    subprocess.run(['npm', 'install', '--no-audit', '--no-fund', '--prefix', pages / 'npm', *TOOLS], check=True)


def render(pages, data, *args):
    subprocess.run(['node', HERE / 'render.mjs', '--pages', pages, '--out', data, *map(str, args)], check=True)


def main():
    ap = argparse.ArgumentParser(); ap.add_argument('--real', required=True); ap.add_argument('--work', required=True, type=pathlib.Path); ap.add_argument('--out', type=pathlib.Path)
    ap.add_argument('--screens', type=int, default=2011); ap.add_argument('--tower', type=float, default=300, help='minutes'); ap.add_argument('--decoder', type=float, default=150, help='minutes')
    ap.add_argument('--threads', type=int, default=1)
    a = ap.parse_args(); work = a.work.resolve(); s = Steps(work)
    pages, data, train = work / 'pages', work / 'data', work / 'data/train'
    run = lambda name: work / name / 'last.pt'
    s.once('sources', lambda: sources(pages, os.path.abspath(a.real)))
    s.once('screens', lambda: render(pages, data, '--split', 'train', '--count', a.screens, '--seed', 1))
    s.once('toolbars', lambda: render(pages, data, '--split', 'train', '--count', max(1, a.screens // 9), '--seed', 60, '--icons', 1))
    s.once('validation', lambda: render(pages, data, '--split', 'val', '--icons', 8))
    teach = lambda script, name, minutes, *more: python(script, '--data', train, '--run', work / name, '--minutes', minutes, '--threads', a.threads, *more)
    s.once('tower-1', lambda: teach('pretrain.py', 'tower-1', a.tower / 5))
    s.once('places', lambda: python('place_positions.py', run('tower-1'), train, work / 'placed.pt'))
    s.once('tower-2', lambda: teach('pretrain.py', 'tower-2', a.tower * 4 / 5, '--back', work / 'placed.pt', '--decay', 0.6))
    # The letters of a name must be known before they can be matched.
    s.once('decoder-1', lambda: teach('train.py', 'decoder-1', a.decoder / 5, '--start', run('tower-2'), '--lane', 0))
    s.once('decoder-2', lambda: teach('train.py', 'decoder-2', a.decoder / 5, '--start', run('decoder-1'), '--lane', 0, '--match', 2))
    s.once('lane', lambda: python('lane.py', run('decoder-2'), run('tower-2'), train, work / 'laned.pt'))
    s.once('decoder-3', lambda: teach('train.py', 'decoder-3', a.decoder * 3 / 5, '--start', work / 'laned.pt', '--q4', '--absent', 0.15, '--icons', 0.2, '--lr', 4e-4))
    s.once('gates', lambda: python('lane.py', run('decoder-3'), '-', train, work / 'final.pt'))
    s.once('export', lambda: python('export.py', a.out or work / 'nano', work / 'final.pt'))
    s.once('evaluation', lambda: (python('make_eval.py', data / 'val', work / 'eval', '--screens', 24, '--per-screen', 8),
                                  python('evaluate.py', work / 'eval/annotations.json', '--model', a.out or work / 'nano')))


if __name__ == '__main__':
    main()
