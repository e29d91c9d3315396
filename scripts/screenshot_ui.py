"""Takes pictures of a running gateway's status page for the documents: light, dark, and as wide as a phone.

    .venv/bin/python scripts/screenshot_ui.py http://localhost:3000 --seconds 120

Put it under load first: the page shows differences, so it is watched for a while before the pictures are taken.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES: Final = Path(__file__).parent.parent / "docs" / "images"

DESK: Final = {"viewport": {"width": 1280, "height": 900}, "device_scale_factor": 1.5}
PHONE: Final = {"viewport": {"width": 360, "height": 1000}, "device_scale_factor": 2}
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "status-light": {**DESK, "color_scheme": "light"},
    "status-dark": {**DESK, "color_scheme": "dark"},
    "status-phone": {**PHONE, "color_scheme": "dark"},
}
"""Name of the picture -> the browser it is taken in."""

FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    """Open all three at once, watch for a while, then take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the gateway, such as http://localhost:3000")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the page is watched before (60)")
    parser.add_argument("--token", default="", help="ADMIN_TOKEN, where this address is not in ADMIN_ALLOW")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures (docs/images)")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium: apt install chromium")
    url = given.url.rstrip("/").removesuffix("/gateway/ui") + "/gateway/ui"
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        pages = {name: browser.new_page(**looks) for name, looks in LOOKS.items()}
        for page in pages.values():
            enter(page, url, given.token)
        time.sleep(given.seconds)
        for name, page in pages.items():
            if page.is_visible("#away"):
                sys.exit(f"{url}: {page.inner_text('#away-h')}. {page.inner_text('#away-why')}")
            path = given.out / f"{name}.png"
            page.screenshot(path=path, full_page=name != "status-phone")
            print(f"wrote {path} ({path.stat().st_size // 1024} KB)")
        browser.close()


def enter(page: Page, url: str, token: str) -> None:
    """Open the page, and give it the token if it asks for one."""
    page.goto(url)
    # a selector: the page's Content-Security-Policy lets nobody evaluate text, so no wait_for_function
    page.wait_for_selector("#moment:not(:empty), #away:not([hidden])", state="attached")
    if token and page.is_visible("#ask"):
        page.fill("#token", token)
        page.keyboard.press("Enter")


if __name__ == "__main__":
    main()
