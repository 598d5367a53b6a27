"""Judges what Entente exports with tools that nobody here wrote: one JSON object on standard output.

usage: oracles.py DIRECTORY, which holds bundles/*.json and feed/
"""

import glob
import json
import os
import sys

import pymisp
import stix2
import stix2validator
from misp_stix_converter import ExternalSTIX2toMISPParser

where = sys.argv[1]
told = {"validator": {}, "stix2": {}, "pymisp": {}, "misp_stix": {}, "objects": 0, "events": 0, "emptied": 0, "converted": 0}
options = stix2validator.ValidationOptions(version="2.1")
for path in sorted(glob.glob(os.path.join(where, "bundles", "*.json"))):
    name = os.path.basename(path)
    with open(path) as file:
        text = file.read()
    bundle = json.loads(text)
    told["objects"] += len(bundle["objects"])
    results = stix2validator.validate_string(text, options)
    errors = [str(error) for error in results.errors or []]
    if errors:
        told["validator"][name] = errors
    try:
        parsed = stix2.parse(bundle, allow_custom=True)
    except Exception as error:  # whatever it is, it is told
        told["stix2"][name] = repr(error)
        continue
    if name == "around.json" or name.startswith("upgraded"):  # they name objects that are not in them
        continue
    try:
        parser = ExternalSTIX2toMISPParser()
        parser.load_stix_bundle(parsed)
        parser.parse_stix_bundle()
        events = [parser.misp_event]
        has = any(one["type"] == "indicator" for one in bundle["objects"])
        if has and not any(event.attributes or event.objects or event.event_reports for event in events):
            told["misp_stix"][name] = "nothing was converted"
        told["converted"] += 1
    except Exception as error:
        told["misp_stix"][name] = repr(error)

with open(os.path.join(where, "feed", "manifest.json")) as file:
    manifest = json.load(file)
for uuid, entry in manifest.items():
    try:
        event = pymisp.MISPEvent()
        event.load_file(os.path.join(where, "feed", uuid + ".json"))
        assert event.uuid == uuid and event.info == entry["info"]
        # It can write its own feed entry of it, with the hashes that ours has.
        feed = event.to_feed()
        event.manifest
        told["events"] += 1
        hashes = {line.split(",")[0] for line in open(os.path.join(where, "feed", "hashes.csv")) if uuid in line}
        attributes = event.attributes + [one for thing in event.objects for one in thing.attributes]
        # PyMISP writes times in its own form before it hashes them.
        missing = [
            (one.type, one.value)
            for one in attributes
            if one.type != "datetime" and not one.deleted and set(one.hash_values("md5")) - hashes
        ]
        told["emptied"] += bool(attributes) and all(one.deleted for one in attributes)
        if missing:
            told["pymisp"][uuid] = "hashes are missing: %s" % missing
    except Exception as error:
        told["pymisp"][uuid] = repr(error)
json.dump(told, sys.stdout)
