"""What a change does to workflows and prompts saved before it: `python tests/contract.py released.json now.json`.

Both files are as tests/host/schema.json, which a test keeps in step with the nodes.
"""

import json
import sys
from pathlib import Path


def broken(released: dict[str, dict], now: dict[str, dict]) -> list[str]:
    """A sentence for each promise of `released` that `now` breaks; nodes and optional inputs may be appended."""
    faults = []
    for name, before in released.items():
        if name not in now:
            faults.append(f"{name} is gone.")
            continue
        faults += [f"{name}: {fault}" for fault in broken_node(before, now[name])]
    return faults


def broken_node(before: dict, after: dict) -> list[str]:
    faults = []
    for side in ("inputs", "outputs"):
        names = [socket["id"] for socket in before[side]]
        if [socket["id"] for socket in after[side]][: len(names)] != names:
            faults.append(f"its {side} began with {', '.join(names)}, and do no more.")
            continue
        for old, new in zip(before[side], after[side], strict=False):
            faults += [f"{old['id']} {fault}" for fault in broken_socket(old, new)]
    appended = after["inputs"][len(before["inputs"]) :]
    faults += [f"the new input {socket['id']} is not optional." for socket in appended if not socket["optional"]]
    return faults


def broken_socket(old: dict, new: dict) -> list[str]:
    faults = []
    if old["type"] != new["type"]:
        faults.append(f"was {old['type']} and is {new['type']}.")
    if old.get("optional") and not new["optional"]:
        faults.append("was optional and is not.")
    if "min" in old and new.get("min", old["min"]) > old["min"]:
        faults.append(f"could be {old['min']}.")
    if "max" in old and new.get("max", old["max"]) < old["max"]:
        faults.append(f"could be {old['max']}.")
    if lost := set(old.get("options", [])) - set(new.get("options", [])):
        faults.append(f"could be {', '.join(sorted(lost))}.")
    return faults


if __name__ == "__main__":
    sys.exit("\n".join(broken(*(json.loads(Path(path).read_text()) for path in sys.argv[1:3]))) or 0)
