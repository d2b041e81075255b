"""The host, the pack and the tiny models are those of tests/host."""

from tests.host.conftest import (  # noqa: F401
    _inference_mode,
    host,
    input_dir,
    models_dir,
    node,
    pack,
    run_prompt,
    tiny_checkpoint,
    tiny_clip,
)
