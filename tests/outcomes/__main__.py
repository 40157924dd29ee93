"""Write the text anew, and say of how many models."""

from outcomes.files import entries, path_of
from outcomes.models import SECTIONS

for section in SECTIONS:
    found = list(entries(section))
    path_of(section).write_text("".join(f"{line}\n" for entry in found for line in entry), encoding="utf-8")
    print(f"{section}: {len(found)} models")
