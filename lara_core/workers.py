"""Jobs go in, their results come out as they are ready: made here, in processes of this machine, or on a Ray cluster.

A worker is one thread of one process; whoever makes the jobs decides what happens to their results.
"""

import multiprocessing
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

RAY_RETRIES = 3  # of a job whose worker died, where it may be done again


def results_of(work: Callable, jobs: Sequence, workers: int = 1, ray_address: str | None = None, again: bool = False) -> Iterator:
    """work(job) of every job, in the order in which they are ready.

    workers: processes with one thread each; 1 stays in this one. ray_address: a Ray cluster instead ("local" starts one here); its
    machines need this package and the same paths. again: a job whose worker died on the cluster is done again, up to three times.
    Raises ChildProcessError where a worker died for good, ValueError where there is no Ray.
    """
    if ray_address is not None:
        return _on_ray(work, jobs, ray_address, workers, RAY_RETRIES if again else 0)
    return _in_processes(work, jobs, workers) if workers > 1 else (work(job) for job in jobs)


def _in_flight(jobs: Sequence, most: int, submit: Callable, wait_for_one: Callable, result: Callable) -> Iterator:
    """Results as they come, with at most so many asked for at a time: sound that is kept does not pile up."""
    waiting, pending = iter(jobs), []
    while True:
        while len(pending) < most and (job := next(waiting, None)) is not None:
            pending.append(submit(job))
        if not pending:
            return
        ready, pending = wait_for_one(pending)
        for one in ready:
            yield result(one)


def _in_processes(work: Callable, jobs: Sequence, workers: int) -> Iterator:
    def wait_for_one(pending):
        ready, rest = wait(pending, return_when=FIRST_COMPLETED)
        return ready, list(rest)

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when a process starts: those to come
        os.environ.setdefault(name, "1")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield from _in_flight(jobs, 2 * workers, lambda job: pool.submit(work, job), wait_for_one, lambda one: one.result())
    except BrokenProcessPool as error:
        raise ChildProcessError(_DEAD) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:  # whoever stops early does not wait for half a piece
            worker.terminate()
            while worker.is_alive():  # join may return before: the pool's thread collects the dead too, and is told first
                worker.join()


def _start_worker() -> None:
    """Ctrl-C is the parent's to hear; and where the parent is killed, nobody is left behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _on_ray(work: Callable, jobs: Sequence, address: str, workers: int, retries: int) -> Iterator:
    try:
        import ray.exceptions  # not `ray`: any folder of that name would do
    except ImportError as error:
        raise ValueError("--ray needs the package ray; install it with: pip install 'lara-gen[ray]'") from error
    place = re.fullmatch(r"([^/]+):(\d{1,5})", address)
    if place:  # Ray itself would go on trying for many minutes
        try:
            socket.create_connection((place[1], int(place[2])), 5).close()
        except (OSError, OverflowError) as error:
            raise ValueError(_NO_RAY.format(address, error)) from error
    where = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(None if address == "local" else address, log_to_driver=False, logging_level="ERROR", **where)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(_NO_RAY.format(address, error)) from error
    try:
        there = ray.remote(num_cpus=1, max_retries=retries)(lambda job: work(job))  # Ray takes functions only, `work` may be a partial
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from _in_flight(jobs, most, there.remote, lambda pending: ray.wait(pending, num_returns=1), ray.get)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        raise ChildProcessError(_DEAD) from error
    except ray.exceptions.RayTaskError as error:  # what the job itself raised, as it would be raised here
        raise error.cause from error
    finally:
        ray.shutdown()


_NO_RAY = "no Ray cluster answers at {} ({}); give host:port of a running one, or local"
_DEAD = ("a worker process died, killed from outside or out of memory; what was finished is kept, run the same command to go on, "
         "perhaps with fewer --jobs")
