"""What a training takes, said before it begins; and blocks that are computed again."""

from dataclasses import replace

import pytest
import torch
from small_training import randomize


def test_a_dry_run_says_what_it_takes_trains_a_step_and_leaves_nothing(module, experiment, tmp_path, capsys):
    settings = experiment()
    accelerator = module("training.processes").start_processes()
    module("training.colorizer").run(settings, accelerator, dry=True)
    said = capsys.readouterr().out
    assert "Memory at 64 pixels, 1 pictures at once" in said and "one step" in said
    parts = {line[:13].strip(): line[14:].split()[0] for line in said.splitlines() if line.endswith("GiB")}
    assert list(parts) == ["weights", "gradients", "optimizer", "average", "VAE and CLIP", "activations", "together"]
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"ema_on_cpu": True}, {"ema": 0.0}])
def test_memory_by_part_is_that_of_the_tensors(module, experiment, changes):
    settings = experiment()
    settings = replace(settings, training=replace(settings.training, **changes))
    config = module("versions.v1").v1_config(model_channels=32, channel_mult=(1, 1, 2, 2), context_dim=48)
    unet = module("host.trainable").build_unet(config)
    weights = 4 * sum(weight.numel() for weight in unet.parameters())
    parts = module("training.memory_plan").memory_by_part(settings, config, 0, rows=1)
    average = weights if changes in ({}, {"gradient_checkpointing": True}) else 0
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (weights, weights, 2 * weights)
    assert parts["average"] == average
    if not changes:  # what PyTorch holds of a real pass, beside the weights, for 2 rows: the loss is dual
        held = {}
        own = {weight.untyped_storage().data_ptr() for weight in unet.parameters()}

        def save(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        inputs = torch.randn(2, 4, 8, 8), torch.zeros(2, dtype=torch.long), torch.randn(2, 256, 48)
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            output = module("host.trainable").Colorizer(unet)(*inputs, torch.randn(2, 3, 64, 64))
        assert output.requires_grad and parts["activations"] == pytest.approx(sum(held.values()), rel=0.02)


def test_blocks_that_are_computed_again_have_the_same_gradients(module, trainable, tiny_config):
    inputs = torch.randn(1, 4, 16, 16), torch.tensor([5]), torch.randn(1, 4, 48), torch.randn(1, 3, 128, 128)
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        unet = randomize(trainable.build_unet(tiny_config))
        if again:
            module("host.gradient_checkpointing").checkpoint_blocks(unet)
        trainable.Colorizer(unet)(*inputs).square().mean().backward()
        gradients.append([weight.grad for weight in unet.parameters()])
    for plain, computed_again in zip(*gradients, strict=True):
        torch.testing.assert_close(computed_again, plain)
