"""Makes locales/zh-TW of locales/zh, in Taiwan's words: `python3 -m gallery.locales`.

Needs opencc-python-reimplemented, which nothing else does.
"""

from pathlib import Path

from opencc import OpenCC

from colorize_core.files import atomic_write

LOCALES = Path(__file__).resolve().parents[1] / "locales"
TAIWAN_WORDS = {"影象": "影像", "畫素": "像素"}  # where OpenCC's choice is not what painting programs write


def traditional_chinese(simplified: str) -> str:
    text = OpenCC("s2twp").convert(simplified)
    for word, better in TAIWAN_WORDS.items():
        text = text.replace(word, better)
    return text


def main() -> None:
    (LOCALES / "zh-TW").mkdir(exist_ok=True)
    for source in sorted((LOCALES / "zh").glob("*.json")):
        with atomic_write(LOCALES / "zh-TW" / source.name) as path:
            path.write_text(traditional_chinese(source.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
