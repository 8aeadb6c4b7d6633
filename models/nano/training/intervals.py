"""Accuracy by type and source with 95 % intervals by screen, of what `fovea eval --predictions FILE` wrote.
Questions about one screen are not independent: whole screens are drawn again and again (bootstrap, 10,000 times, percentiles).
python intervals.py PREDICTIONS.jsonl"""
import json, sys
import numpy as np


def interval(rows, draws=10_000, seed=0):
    """rows: (screen, hit). The share of hits, and its interval."""
    screens = sorted({s for s, _ in rows}); hits = np.array([sum(h for s, h in rows if s == x) for x in screens], float); counts = np.array([sum(s == x for s, _ in rows) for x in screens], float)
    at = np.random.default_rng(seed).integers(0, len(screens), (draws, len(screens)))
    return hits.sum() / counts.sum(), *np.percentile(hits[at].sum(1) / counts[at].sum(1), (2.5, 97.5)), len(screens)


def main():
    rows = [json.loads(line) for line in open(sys.argv[1]) if line.strip()]
    groups = {}
    for r in rows:
        for key in ('all', r['data_type'], f"{r['data_type']}, {r['data_source']}"): groups.setdefault(key, []).append((r['img_filename'], r['correct']))
    for key, g in sorted(groups.items()):
        share, low, high, screens = interval(g)
        print(f'{key:40s} {sum(h for _, h in g):4d} of {len(g):4d}  {100 * share:5.1f} %  {100 * low:.1f} to {100 * high:.1f}  ({screens} screens)')
    wrong = [r for r in rows if r['point'] is not None and not r['correct']]
    print('wrong clicks', len(wrong), ' refused though there', sum(r['point'] is None and r['target'] is not None for r in rows))


if __name__ == '__main__':
    main()
