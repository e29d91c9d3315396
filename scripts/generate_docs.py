"""Writes the generated pages: .env.example, docs/reference/settings.md, docs/reference/errors.md,
deploy/redis/fastgw.acl. `make docs`.
"""

from __future__ import annotations

from pathlib import Path

from fastgw.errors import reference_page
from fastgw.settings.explain import env_example, settings_page
from fastgw.store.acl import acl_file

ROOT = Path(__file__).parent.parent

PAGES = {
    ".env.example": env_example,
    "docs/reference/settings.md": settings_page,
    "docs/reference/errors.md": reference_page,
    "deploy/redis/fastgw.acl": acl_file,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(page(), encoding="utf-8")
        print(f"wrote {name}")
