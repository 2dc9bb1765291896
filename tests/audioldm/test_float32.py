"""Evaluation clips are made in float32 whatever the training's precision, as the written checkpoint makes them."""

from __future__ import annotations

import torch

from audiogen_metrics.audioldm.training import in_float32


def test_mixed_precision_is_taken_off_and_put_back() -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # it allows one precision for each process
    torch.manual_seed(0)
    network = torch.nn.Linear(64, 64)
    x = torch.randn(8, 64)
    with in_float32(network):  # not prepared: nothing to take off
        plain = network(x)
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    wrapped = accelerator.prepare(network)
    mixed = wrapped(x)
    assert not torch.equal(mixed, plain)
    with in_float32(network):
        assert torch.equal(network(x), plain)
    assert torch.equal(network(x), mixed)
    assert torch.equal(wrapped(x), mixed)
    AcceleratorState._reset_state(reset_partial_state=True)
