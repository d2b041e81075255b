"""Makes the traditional Chinese of the simplified, in Taiwan's words: locales/zh-TW, and a help page of each node.

OpenCC turns the characters; its own phrases for Taiwan read words into others (nodes become bytes), so the words are
those below, longer ones first. It is in tests/requirements.txt.
"""

import re
from pathlib import Path

from opencc import OpenCC

from colorize_core.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]
LOCALES, DOCS = ROOT / "locales", ROOT / "web" / "docs"
TAIWAN_WORDS = {
    "加載圖像": "載入圖片",  # this, and the next ones, as ComfyUI names its nodes
    "加載CLIP視覺": "載入 CLIP Vision",
    "VAE解碼": "VAE 解碼",
    "VAE編碼": "VAE 編碼",
    "設置Latent噪波遮罩": "設定 latent 雜訊遮罩",
    "K採樣器選擇": "K採樣器選擇",
    "K採樣器": "KSampler",
    "基本調度器": "BasicScheduler",
    "擴展遮罩": "GrowMask",
    "保存圖像": "儲存圖片",
    "預覽圖像": "預覽圖片",
    "裁剪圖像": "圖片裁切",
    "十六進制": "十六進位",
    "繪畫軟件": "繪圖軟體",
    "服務器": "伺服器",
    "調度器": "排程器",
    "工作流": "工作流程",
    "文件夾": "資料夾",
    "文件名": "檔名",
    "命令行": "命令列",
    "文件": "檔案",
    "圖像": "影像",
    "加載": "載入",
    "保存": "儲存",
    "採樣": "取樣",
    "軟件": "軟體",
    "緩存": "快取",
    "文本": "文字",
    "通過": "透過",
    "添加": "加入",
    "全局": "整體",
    "噪波": "雜訊",
    "噪點": "雜訊",
    "降噪": "去雜訊",
    "裁剪": "裁切",
    "色板": "調色盤",
    "色值": "色碼",
    "居中": "置中",
    "摳圖": "去背圖",
    "自定義": "自訂",
    "設置": "設定",
    "日誌": "記錄檔",
    "默認": "預設",
    "演示": "示範",
    "示例": "範例",
    "模板": "範本",
    "高級": "進階",
    "網格": "格線",
    "顯卡": "顯示卡",
    "顯存": "顯示記憶體",
    "內存": "記憶體",
    "命令": "指令",
    "菜單": "選單",
    "搜索": "搜尋",
    "鏈接": "連結",
    "支持": "支援",
    "發佈": "發布",
    "“": "「",
    "”": "」",
}


def traditional_chinese(simplified: str) -> str:
    text = OpenCC("s2tw").convert(simplified)
    pattern = "|".join(map(re.escape, TAIWAN_WORDS))
    return re.sub(pattern, lambda word: TAIWAN_WORDS[word[0]], text)


def taiwan_files() -> dict[Path, str]:
    """What every traditional Chinese file is to hold, by its path."""
    tables = {LOCALES / "zh-TW" / source.name: source for source in sorted((LOCALES / "zh").glob("*.json"))}
    pages = {page.with_name("zh-TW.md"): page for page in sorted(DOCS.glob("*/zh.md"))}
    return {path: traditional_chinese(source.read_text(encoding="utf-8")) for path, source in (tables | pages).items()}


def write_taiwan_files() -> None:
    for path, text in taiwan_files().items():
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8")
