"""Writes the generated pages: .env.example, docs/reference/settings.md, docs/reference/errors.md,
deploy/redis/fastgw.acl, and the table of settings in README.md. `make docs`.
"""

from __future__ import annotations

from pathlib import Path

from fastgw.errors import reference_page
from fastgw.settings.explain import embedded, env_example, settings_page, settings_table
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
    readme = ROOT / "README.md"
    readme.write_text(embedded(readme.read_text(encoding="utf-8"), "settings", settings_table()), encoding="utf-8")
    print("wrote the settings in README.md")
