"""What a job reports of how far it is, and what it logs."""

import json

import pytest

from pmv_jax.batch.monitor import Monitor


def test_running_images_count_by_their_shares(tmp_path):
    told = []
    with Monitor(3, str(tmp_path / "log"), lambda *values: told.append(values)) as monitor:
        watch = monitor.watch("a", 10)
        watch("latent", 4, 6, float("nan"))  # begins again in the middle
        watch("latent", 6, 6, 0.5)
        watch("joint", 2, 4, 0.25)
        monitor.finish("a")
        monitor.finish("b", failed=True)
    assert [done for done, *_ in told] == pytest.approx([0.4, 0.6, 0.8, 1, 2, 2])
    assert {total for _, total, *_ in told} == {3} and [failed for *_, failed, _ in told] == [0, 0, 0, 0, 1, 1]
    assert all(rate > 0 for *_, rate in told)
    lines = list(map(json.loads, (tmp_path / "log" / "scalars-0.jsonl").read_text().splitlines()))
    losses = [(line["stage"], line["step"], line["loss"]) for line in lines if "loss" in line]
    assert losses == [("latent", 6, 0.5), ("joint", 2, 0.25)]
    assert [(line["image"], line["failed"]) for line in lines if "failed" in line] == [("a", False), ("b", True)]


def test_nobody_has_to_listen():
    with Monitor(1, None) as monitor:
        monitor.watch("a", 1)("latent", 1, 1, 0.5)
        monitor.finish("a")
