"""Walks a TAXII server with OASIS's client: every endpoint, every filter, pages, adding and deleting.

usage: walk.py http://HOST:PORT COLLECTION   (user admin, password Password0; an API root `lab`)
"""

import sys
import uuid

from requests.exceptions import HTTPError
from taxii2client.v21 import ApiRoot, Collection, Server, Status, as_pages

BASE, COLLECTION = sys.argv[1:]
LOGIN = {"user": "admin", "password": "Password0"}
OBJECTS = 53


def refused(status, act):
    try:
        act()
    except HTTPError as error:
        assert error.response.status_code == status, error.response.text
        assert error.response.json()["http_status"] == str(status)
    else:
        raise AssertionError(f"{status} was expected")


def indicator(number, modified="2026-01-15T09:30:00.000Z"):
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.UUID(int=number, version=4)}",
        "created": "2026-01-15T09:30:00.000Z",
        "modified": modified,
        "pattern": f"[ipv4-addr:value = '192.0.2.{number}']",
        "pattern_type": "stix",
        "valid_from": "2026-01-15T09:30:00Z",
    }


def main():
    server = Server(f"{BASE}/taxii2/", **LOGIN)
    assert server.title == "lab", server.title
    root = ApiRoot(f"{BASE}/lab/", **LOGIN)
    assert root.versions == ["application/taxii+json;version=2.1"]
    assert root.max_content_length > 0
    assert COLLECTION in [collection.id for collection in root.collections]
    collection = Collection(f"{BASE}/lab/collections/{COLLECTION}/", **LOGIN)
    assert collection.can_read and collection.can_write
    assert collection.get_objects() == {}
    assert collection.get_manifest() == {}

    objects = [indicator(number) for number in range(OBJECTS)]
    status = collection.add_objects({"objects": objects}, timeout=10)
    assert status.status == "complete", status
    assert status.success_count == OBJECTS and status.failure_count == 0
    status = Status(f"{BASE}/lab/status/{status.id}/", **LOGIN)
    assert status.total_count == OBJECTS
    assert root.get_status(status.id).success_count == OBJECTS
    # The same again is no error.
    assert collection.add_objects({"objects": objects[:3]}).failure_count == 0

    names = [one["id"] for one in objects]
    for size in (1, 7, 20):
        pages = list(as_pages(collection.get_objects, per_request=size))
        assert [one["id"] for page in pages for one in page["objects"]] == names, size
        assert all(len(page["objects"]) <= size for page in pages)
        pages = list(as_pages(collection.get_manifest, per_request=size))
        assert [one["id"] for page in pages for one in page["objects"]] == names, size
    # By the date alone, as the specification has it for manifests.
    seen, after = [], None
    while True:
        page = collection.get_manifest(limit=7, **({"added_after": after} if after else {}))
        seen += [one["id"] for one in page["objects"]]
        after = page["objects"][-1]["date_added"]
        if not page["more"]:
            break
    assert seen == names

    first = names[0]
    again = indicator(0, "2026-01-16T09:30:00.000Z")
    assert collection.add_objects({"objects": [again]}).success_count == 1
    assert collection.get_object(first)["objects"] == [again]
    assert collection.get_object(first, version="first")["objects"] == [objects[0]]
    assert len(collection.get_object(first, version="all")["objects"]) == 2
    assert collection.object_versions(first)["versions"] == [one["modified"] for one in (objects[0], again)]
    assert len(collection.get_objects(id=names[:2])["objects"]) == 2
    assert collection.get_objects(type="malware") == {}
    assert collection.get_objects(type=["indicator", "malware"], limit=3)["more"] is True
    assert collection.get_objects(version="2026-01-16T09:30:00.000Z")["objects"] == [again]
    assert len(collection.get_objects(spec_version="2.1")["objects"]) == 20
    assert collection.get_objects(spec_version="2.0") == {}

    refused(400, lambda: collection.get_objects(limit=-1))
    refused(404, lambda: collection.get_object("indicator--00000000-0000-4000-8000-ffffffffffff"))
    refused(404, lambda: ApiRoot(f"{BASE}/none/", **LOGIN).refresh())
    refused(404, lambda: root.get_status(str(uuid.uuid4())))
    refused(401, lambda: Server(f"{BASE}/taxii2/", user="admin", password="x").refresh())
    refused(422, lambda: collection.add_objects({"objects": []}))

    collection.delete_object(first, version="all")
    refused(404, lambda: collection.get_object(first))
    refused(404, lambda: collection.object_versions(first))
    print("walked", OBJECTS)


main()
