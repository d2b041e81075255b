"""Ray's side of a batch, on a local cluster that says it has two GPUs; the stand-in plays ComfyUI."""

import functools
import json
from pathlib import Path

import pytest

from colorize_batch.client import ComfyUIError
from colorize_batch.jobs import Job
from colorize_batch.pools import RayPool
from colorize_batch.schedule import color, make_shots
from colorize_batch.worker import Settings

ray = pytest.importorskip("ray")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(ray, "init", functools.partial(ray.init, num_cpus=2, num_gpus=2))


def test_each_worker_has_a_gpu_of_its_own(two_gpus, stand_in, tmp_path):
    drawing = tmp_path / "1.png"
    drawing.write_text("drawing")
    prompt = {"1": {"class_type": "saves", "inputs": {}}}
    jobs = [Job(str(index), drawing, prompt, {("1", "image"): drawing}) for index in range(12)]
    pool = RayPool(Settings(tmp_path / "out", stand_in), None, None)
    try:
        while pool.starting:
            pool.wait()
        outcomes = list(color(make_shots(jobs, False), pool, {}))
    finally:
        pool.close()
    assert {outcome.state for outcome in outcomes} == {"done"}
    gpus = {(outcome.worker, json.loads(outcome.files[0].read_text())["gpu"]) for outcome in outcomes}
    assert {worker for worker, _ in gpus} == {"1", "2"} and {gpu for _, gpu in gpus} == {"0", "1"}
    assert len(gpus) == 2


def test_more_workers_than_gpus_are_refused(two_gpus, stand_in, tmp_path):
    with pytest.raises(ValueError, match="--workers 3: there are 2 GPUs, one for each worker"):
        RayPool(Settings(tmp_path / "out", stand_in), 3, None)


def test_a_comfyui_that_starts_on_no_worker_is_said_once_for_all(two_gpus, tmp_path):
    (tmp_path / "main.py").write_text("print('no such device'); raise SystemExit(1)")
    pool = RayPool(Settings(tmp_path / "out", tmp_path), 2, None)
    try:
        with pytest.raises(ComfyUIError, match=r"(?s)did not start.*no such device"):
            pool.object_info()
        outcomes = list(color(make_shots([Job("1", Path("1.png"), {})], False), pool, {}))
    finally:
        pool.close()
    assert [(outcome.state, "no such device" in outcome.why) for outcome in outcomes] == [("failed", True)]


def test_a_cluster_that_is_not_there_is_a_sentence(monkeypatch, stand_in, tmp_path):
    def refuse(*_, **__):
        raise ConnectionError("timeout")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ComfyUIError, match=r"--address ray://h:1: no Ray cluster lets this computer in \(timeout\)"):
        RayPool(Settings(tmp_path / "out", stand_in), 1, "ray://h:1")
