"""Colors a folder of drawings with one ComfyUI workflow, on every GPU at hand.

What exists in --out is skipped, so the same command goes on where it was stopped. docs/batch.md says more.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

from tqdm import tqdm

from .client import ComfyUIError
from .jobs import Job, drawings_in, existing_results, make_jobs, read_table
from .pools import LocalPool, RayPool
from .report import write_contact_sheets, write_report
from .schedule import Outcome, color, make_shots
from .worker import Settings, comfyui_folder, staging_folder
from .workflow import (
    Prompt,
    drawing_slot,
    find_slot,
    is_prompt,
    parse_value,
    previous_slot,
    prompt_of_saved,
    read_workflow,
    reference_slot,
    seed_slots,
    with_values,
)

EXAMPLES = """examples:
  python -m colorize_batch workflow.json --drawings pages --out colored --reference colors.png
  python -m colorize_batch workflow.json --drawings pages --out colored --reference characters --set Colorize.steps=30
  python -m colorize_batch workflow.json --drawings shots --out colored --reference colors.png --shot --workers 4
  python -m colorize_batch workflow.json --drawings pages --out colored -- --base-directory /my/comfyui --fp16-unet

Flags after -- go to ComfyUI. NODE is a node's id, title or type.
"""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    words = sys.argv[1:] if words is None else words
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="python -m colorize_batch",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("workflow", type=Path, help="in API format (the sure way), or as the browser saves it")
    add("--drawings", type=Path, required=True, metavar="FOLDER", help="drawings or clips, in folders of any depth")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where results go, by the drawings' names")
    add("--reference", type=Path, metavar="FILE_OR_FOLDER", help="for all, or by the drawing's or its folder's name")
    add("--table", type=Path, metavar="CSV", help="columns drawing, reference and any NODE.INPUT: a value or a file")
    add("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", dest="values", help="may be given many times")
    add("--seed", type=int, metavar="N", help="for every seed in the workflow")
    add("--drawing-input", metavar="NODE.INPUT", help="what takes the drawing, where it cannot be found")
    add("--reference-input", metavar="NODE.INPUT", help="what takes the reference, where it cannot be found")
    add("--shot", action="store_true", help="the frames of a folder in order, by one worker")
    add("--previous-input", metavar="NODE.INPUT", help="with --shot: what takes the last colored frame")
    add("--overwrite", action="store_true", help="color again what exists")
    add("--workers", type=int, metavar="N", help="as many as GPUs; 1 does without Ray")
    add("--address", metavar="auto|ray://HOST:PORT", help="a running Ray cluster, instead of this computer")
    add("--comfyui", type=Path, metavar="FOLDER", help="ComfyUI; else COMFYUI_PATH, or the one that holds this pack")
    args = parser.parse_args(words[:end])
    args.flags = tuple(words[end + 1 :])
    if args.workers is not None and args.workers < 1:
        parser.error("--workers: at least 1")
    return args


def prepare_prompt(args: argparse.Namespace, prompt: Prompt) -> Prompt:
    """The prompt with the values of --set and --seed."""
    values = {} if args.seed is None else dict.fromkeys(seed_slots(prompt), args.seed)
    for text in args.values:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: it should be NODE.INPUT=VALUE.")
        values[find_slot(prompt, name)] = parse_value(value)
    return with_values(prompt, values)


def plan(args: argparse.Namespace, workflow: Prompt) -> list[Job]:
    """The jobs that the command line asks for, with a workflow in API format. Raises ValueError."""
    prompt = prepare_prompt(args, workflow)
    drawing = find_slot(prompt, args.drawing_input) if args.drawing_input else drawing_slot(prompt)
    drawings = args.drawings.resolve()
    paths = drawings_in(drawings, args.out.resolve(), drawing)
    reference = previous = None
    if args.reference_input:
        reference = find_slot(prompt, args.reference_input)
    elif args.reference:
        reference = reference_slot(prompt)
    if args.shot:
        previous = find_slot(prompt, args.previous_input) if args.previous_input else previous_slot(prompt)
    table = read_table(args.table, prompt, reference) if args.table else {}
    given = (reference, args.reference.resolve()) if args.reference else None
    return make_jobs(drawings, paths, prompt, drawing, given, table, previous)


def run(args: argparse.Namespace) -> dict:
    """Colors everything; gives the report. Raises ValueError, ImportError or ComfyUIError where it cannot begin."""
    drawings, out = args.drawings.resolve(), args.out.resolve()
    if out == drawings:
        raise ValueError("--out must be another folder than --drawings: results have the drawings' names.")
    workflow = read_workflow(args.workflow)
    jobs = plan(args, workflow) if is_prompt(workflow) else []
    settings = Settings(out, comfyui_folder(args.comfyui), args.flags)
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging_folder(out), ignore_errors=True)
    existing = {} if args.overwrite else existing_results(out)
    pool = (
        LocalPool(settings) if args.workers == 1 and not args.address else RayPool(settings, args.workers, args.address)
    )
    try:
        jobs = jobs or plan(args, prompt_of_saved(workflow, pool.object_info()))
        return color_and_report(args, jobs, pool, existing)
    finally:
        pool.close()
        shutil.rmtree(staging_folder(out), ignore_errors=True)


def color_and_report(args: argparse.Namespace, jobs: list[Job], pool: LocalPool | RayPool, existing: dict) -> dict:
    """Colors the jobs, shows progress, and writes the report, even of a batch that is stopped."""
    outcomes: list[Outcome] = []
    started = time.monotonic()
    try:
        with tqdm(total=len(jobs), unit="drawing") as progress:
            for outcome in color(make_shots(jobs, args.shot), pool, existing):
                outcomes.append(outcome)
                progress.update()
                if outcome.state == "failed":
                    progress.write(f"{outcome.job.name}: {outcome.why}", file=sys.stderr)
    finally:
        order = {job.name: index for index, job in enumerate(jobs)}
        outcomes.sort(key=lambda outcome: order[outcome.job.name])
        report = write_report(args.out.resolve(), args.workflow, outcomes, time.monotonic() - started)
        write_contact_sheets(args.out.resolve(), outcomes)
    return report


def main() -> None:
    args = arguments()
    try:
        report = run(args)
    except (ValueError, ImportError, ComfyUIError) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{report['done']} done, {report['skipped']} skipped, {report['failed']} failed: {args.out / 'report.json'}")
    sys.exit(1 if report["failed"] else 0)


if __name__ == "__main__":
    main()
