#!/usr/bin/env bash
# The step before a deployment: fold, take the result only if it is proved equal, and leave a record.
#
#   bash examples/deploy.sh MODEL FOLDER
#
# FOLDER gets the model that is to be served, under its own name, its data file if it has one, and fold.json. Exit
# status: 0 it is there; 1 a BatchNormalization stayed, or the fold was not proved equal; 2 the model or the call is
# wrong. Only with 0 is anything put into FOLDER.
set -euo pipefail

[ $# -eq 2 ] || { echo "deploy: give a model and a folder" >&2; exit 2; }
model=$1 folder=$2 name=$(basename "$1")
work=$(mktemp -d)
mkdir "$work/made"
trap 'rm -rf "$work"' EXIT

# What the JSON document of a fold says, in lines: what was folded, and each BatchNormalization that stayed with its code.
summary() {
    python3 - "$1" << 'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    record = json.load(file)
proof = "not compared: it is the file that came in" if record["check"] is None else f"equal: {record['check']['equal']}"
print(f"{len(record['folded'])} folded, {len(record['kept'])} kept, {proof}")
for entry in record["kept"]:
    print(f"  {entry['node']} stayed [{entry['code']}]")
PYTHON
}

status=0
bnfold fold "$model" -o "$work/made/$name" --strict --json "$work/made/fold.json" > "$work/log" 2>&1 || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 1 "$work/log" >&2
    [ ! -s "$work/made/fold.json" ] || summary "$work/made/fold.json" >&2
    exit "$status"
fi
mkdir -p "$folder"
mv "$work"/made/* "$folder"
echo "$folder/$name: $(summary "$folder/fold.json")"
