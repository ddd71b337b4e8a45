"""Prints the rows the lake must have, computed from the input alone: FILE.jsonl"""
import json, sys

rows = {}
for line in open(sys.argv[1], encoding="utf-8"):
    e = json.loads(line)
    copy = (e["received_at"], line.rstrip("\n"), e)
    key = (e["event_type"], e["event_time"][:13], e["event_id"])
    rows[key] = min(rows.get(key, copy), copy, key=lambda c: c[:2])
order = lambda k: (k[0], k[1], rows[k][2]["user_id"], rows[k][2]["event_time"], k[2])
for k in sorted(rows, key=order):
    e = rows[k][2]
    print(json.dumps([*k, e["event_time"], e["received_at"], e["user_id"], e["files"], e["added"], e["deleted"], rows[k][1], False]))
