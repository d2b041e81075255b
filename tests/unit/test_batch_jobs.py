"""What is to be colored: natural order, names of results, references by names and by a table."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colorize_batch.jobs import drawings_in, existing_results, find_reference, make_jobs, natural, read_table

DRAWING, REFERENCE, PREVIOUS = ("1", "image"), ("2", "image"), ("5", "image")
PROMPT = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Sketch"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "b.png"}, "_meta": {"title": "Reference"}},
    "3": {"class_type": "Text", "inputs": {"text": "as it is", "strength": 1}},
}


@pytest.fixture
def folder(tmp_path):
    """`folder("pages", "a/1.png", ...)`: a folder with such files, all empty."""

    def make(name: str, *files: str) -> Path:
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / name

    return make


@given(st.lists(st.integers(0, 999), unique=True, min_size=1))
def test_numbers_in_names_are_sorted_as_numbers(numbers):
    paths = [Path(f"ch{number % 7}/page{number}.png") for number in numbers]
    random.Random(0).shuffle(paths)
    assert [path.stem for path in sorted(paths, key=natural)] == [
        f"page{number}" for number in sorted(numbers, key=lambda number: (number % 7, number))
    ]


def test_drawings_are_found_in_folders_of_any_depth_but_never_results(folder):
    drawings = folder("pages", "b/10.png", "b/2.JPG", "a.webp", "notes.txt", "out/a.png")
    found = drawings_in(drawings, drawings / "out", DRAWING)
    assert [path.as_posix() for path in found] == ["a.webp", "b/2.JPG", "b/10.png"]


def test_results_may_lie_in_a_folder_that_holds_the_drawings(folder):
    drawings = folder("all/pages", "1.png")
    assert drawings_in(drawings, drawings.parent, DRAWING) == [Path("1.png")]


def test_two_drawings_with_one_result_are_refused(folder):
    with pytest.raises(ValueError, match=r"1\.jpg and 1\.png would have the same result"):
        drawings_in(folder("pages", "1.png", "1.jpg"), Path("out"), DRAWING)


def test_a_folder_without_drawings_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="has no picture"):
        drawings_in(folder("pages", "notes.txt"), Path("out"), DRAWING)
    with pytest.raises(ValueError, match="is no folder"):
        drawings_in(tmp_path / "absent", Path("out"), DRAWING)


def test_a_workflow_that_loads_a_video_takes_the_clips_of_a_folder_and_no_pictures(folder):
    drawings = folder("clips", "1.png", "b.mp4", "a/2.WEBM")
    assert drawings_in(drawings, Path("out"), ("1", "file")) == [Path("a/2.WEBM"), Path("b.mp4")]
    with pytest.raises(ValueError, match=r"has no video \(.*\.mp4"):
        drawings_in(folder("pages", "1.png"), Path("out"), ("1", "video"))


def test_results_that_exist_are_known_by_their_names_and_reports_are_none(folder):
    out = folder("out", "a/1.png", "2.psd", "report.json", "contact-sheet-1.jpg")
    assert existing_results(out) == {"a/1": out / "a/1.png", "2": out / "2.psd"}


@pytest.mark.parametrize(
    ("drawing", "reference"),
    [
        ("alice/1.png", "alice/1.jpg"),  # the drawing's own name
        ("alice/2.png", "alice.png"),  # its folder's
        ("alice/close/3.png", "alice.png"),  # a folder's above
        ("bob/1.png", None),
        ("9.png", None),
    ],
)
def test_a_reference_is_named_as_the_drawing_or_a_folder_it_lies_in(folder, drawing, reference):
    references = folder("references", "alice.png", "alice/1.jpg", "bob.txt")
    found = find_reference(references, Path(drawing))
    assert found == (references / reference if reference else None)


def jobs_of(drawings, *, reference=None, table=None, previous=None):
    paths = drawings_in(drawings, Path("out"), DRAWING)
    return make_jobs(drawings, paths, PROMPT, DRAWING, reference, table or {}, previous)


def test_a_job_has_its_drawing_its_reference_and_a_name_for_its_result(folder):
    drawings, references = folder("pages", "a/1.png"), folder("references", "a.png")
    (job,) = jobs_of(drawings, reference=(REFERENCE, references))
    assert job.files == {DRAWING: drawings / "a/1.png", REFERENCE: references / "a.png"}
    assert (job.name, job.shot, job.missing) == ("a/1", "a", "")


def test_a_missing_reference_is_said_by_that_job_alone(folder):
    drawings, references = folder("pages", "a/1.png", "b/1.png"), folder("references", "a.png")
    first, second = jobs_of(drawings, reference=(REFERENCE, references))
    assert not first.missing
    assert second.missing == f"It has no reference: in {references} there is no b/1.* nor b.*."


def test_the_first_frame_of_a_shot_looks_at_its_reference(folder):
    drawings, references = folder("pages", "a/1.png"), folder("references", "a.png")
    (job,) = jobs_of(drawings, reference=(REFERENCE, references), previous=PREVIOUS)
    assert job.files[PREVIOUS] == references / "a.png" and job.previous == PREVIOUS


def test_a_table_gives_each_drawing_references_values_and_masks(folder):
    drawings, tables = folder("pages", "1.png", "2.png", "3.png"), folder("tables", "alice.png")
    path = tables / "scene.csv"
    path.write_text("drawing,reference,3.text,3.strength\n1.png,alice.png,red hair,0.5\n2.png,,,2\n")
    everywhere = folder("references", "all.png") / "all.png"
    table = read_table(path, PROMPT, REFERENCE)
    one, two, three = jobs_of(drawings, reference=(REFERENCE, everywhere), table=table)
    assert one.files[REFERENCE] == tables / "alice.png"
    assert two.files[REFERENCE] == three.files[REFERENCE] == everywhere
    assert one.prompt["3"]["inputs"] == {"text": "red hair", "strength": 0.5}
    assert two.prompt["3"]["inputs"] == {"text": "as it is", "strength": 2}
    assert three.prompt == PROMPT


def test_a_file_that_the_table_names_and_is_not_there_is_said_by_that_job(folder):
    path = folder("tables", "scene.csv") / "scene.csv"
    path.write_text("drawing,reference\n1.png,absent.png\n")
    (job,) = jobs_of(folder("pages", "1.png"), table=read_table(path, PROMPT, None))
    assert job.missing == f"There is no file {path.parent / 'absent.png'}."


def test_a_table_that_names_no_drawing_is_refused(folder):
    path = folder("tables", "scene.csv") / "scene.csv"
    path.write_text("picture,reference\n1.png,absent.png\n")
    with pytest.raises(ValueError, match="'drawing' among them"):
        read_table(path, PROMPT, None)


def test_a_table_with_a_drawing_that_is_not_in_the_folder_is_refused(folder):
    path = folder("tables", "scene.csv") / "scene.csv"
    path.write_text("drawing,3.text\n1.png,red\n01.png,blue\n")
    with pytest.raises(ValueError, match=r"--table: there is no drawing 01\.png"):
        jobs_of(folder("pages", "1.png"), table=read_table(path, PROMPT, None))
