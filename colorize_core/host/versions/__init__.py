"""How the host builds each version: for each of `versions.VERSIONS` that is supported, a module of the same name.

Their configs are registered with the host's detection too, so its own checkpoint loader opens these files as well.
"""

import comfy.supported_models

from ...checkpoint.config import Config
from ..model import ColorizeConfig
from . import v1, v1_5, v2, xl

HOST_CONFIGS = [v1.ColorizeV1, v1_5.ColorizeV15, v2.ColorizeV2, xl.ColorizeXL, xl.ColorizeXLAdapted]

comfy.supported_models.models.extend(HOST_CONFIGS)


def host_config(config: Config) -> ColorizeConfig:
    """How the host builds the model of this Config."""
    return next(host for host in HOST_CONFIGS if host.version is config.version).of(config)
