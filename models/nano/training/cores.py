"""Which of the processors a process runs on."""
import os


def own(rank, processes, threads=1):
    """Keeps one of several processes on processors of its own, if there are enough: left to the scheduler, two were seen on one core for
    minutes, and a browser's processes wander between cores."""
    if not hasattr(os, 'sched_setaffinity'): return  # not Linux
    cores = sorted(os.sched_getaffinity(0)); share = len(cores) // processes
    if share >= threads: os.sched_setaffinity(0, cores[rank * share:(rank + 1) * share])
