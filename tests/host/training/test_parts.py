"""Parts of the weights alone, or a LoRA."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from small_training import DEMO, PREFIX


@pytest.mark.parametrize(
    ("part", "moves"),
    [
        ("attention", lambda name: ".attn" in name and name.startswith(PREFIX)),
        ("sketch_encoder", lambda name: name.startswith("control_encoder.")),
    ],
)
def test_only_the_part_that_is_trained_moves(run, experiment, tmp_path, part, moves):
    run(experiment(f"weights={{part: {part}}}", "samples=0", "training.learning_rate=0.01"))
    start, trained = load_file(DEMO / "colorize-demo.safetensors"), load_file(tmp_path / "mine" / "mine.safetensors")
    moved = {name for name, weight in start.items() if not torch.equal(weight, trained[name])}
    assert moved and all(moves(name) for name in moved)


def test_a_lora_is_read_by_the_hosts_loader_and_colors_as_its_training_shows(
    run, module, experiment, node, core_node, models_dir, tmp_path, monkeypatch
):
    results, patchers = module("training.results"), []
    build = results.patcher_of
    monkeypatch.setattr(results, "patcher_of", lambda *inputs: patchers.append(build(*inputs)) or patchers[-1])
    run(experiment("weights={part: lora, rank: 4, alpha: 8}", "training={steps: 2, learning_rate: 0.01, ema: 0}"))
    file = tmp_path / "mine" / "mine.safetensors"
    lora = load_file(file)
    assert {name.rpartition(".lora_")[2] for name in lora if ".lora_" in name} == {"A.weight", "B.weight"}
    assert file.stat().st_size < 500_000 and all(name.startswith("diffusion_model.") for name in lora)

    shutil.copy(file, models_dir / "loras" / "mine.safetensors")
    shutil.copy(DEMO / "colorize-demo.safetensors", models_dir / "checkpoints")
    model, _ = node("LoadCheckpoint").execute("colorize-demo.safetensors").result
    (patched,) = core_node("LoraLoaderModelOnly")(model=model, lora_name="mine.safetensors", strength_model=1.0)
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"
    applied = patched.patch_weight_to_device(key, device_to=torch.device("cpu"), return_weight=True)
    plain = model.model.state_dict()[key]
    expected = patchers[0].model.state_dict()[key]
    assert (expected.float() - plain.float()).abs().max() > 1e-3
    torch.testing.assert_close(applied.float(), expected.float(), atol=1e-3, rtol=1e-2)
    assert len(patched.patches) == 4 * len([name for name in lora if name.endswith("attn2.to_q.lora_A.weight")]) * 2


def test_a_lora_goes_on_where_it_was(run, experiment, tmp_path):
    lora = ("weights.part=lora", "samples=0", "training.save_every=1")
    run(experiment(*lora, "training.steps=1"))
    assert sum(path.stat().st_size for path in (tmp_path / "mine" / "step-00000001").iterdir()) < 8_000_000
    run(experiment(*lora))
    run(experiment(*lora, f"output={tmp_path / 'once'}"))
    for name in ("mine/mine.safetensors", "once/once.safetensors"):
        lora = load_file(tmp_path / name)
    assert lora.keys() == load_file(tmp_path / "mine" / "mine.safetensors").keys()
    for name, weight in load_file(tmp_path / "mine" / "mine.safetensors").items():
        assert torch.equal(weight, lora[name])
