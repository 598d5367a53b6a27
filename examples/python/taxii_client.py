"""Reads from a node's TAXII 2.1 server, and publishes through it, with OASIS's own client.

    pip install taxii2-client==2.3.0
    python taxii_client.py https://node.example/taxii2/ --secret FILE list
    python taxii_client.py https://node.example/taxii2/ --secret FILE read agreement-sharing --since since.txt
    python taxii_client.py https://node.example/taxii2/ --secret FILE add publish-indicators bundle.json

FILE is one line, `basic USER:PASSWORD` with the password that was given to `entente taxii password`, or `bearer TOKEN`
with what `entente taxii token` printed. A collection is named by its id, its alias or its title. Objects go to standard output, one a line.
"""

import argparse
import json
import sys
from pathlib import Path

from requests.auth import AuthBase, HTTPBasicAuth
from requests.exceptions import HTTPError
from taxii2client.v21 import Server, as_pages

PER_REQUEST = 100


class Bearer(AuthBase):
    """A token (RFC 6750); the client's own `TokenAuth` uses another scheme."""

    def __init__(self, token):
        self.token = token

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def credential(path):
    kind, _, secret = Path(path).read_text().strip().partition(" ")
    if kind == "bearer":
        return Bearer(secret)
    user, _, password = secret.partition(":")
    if kind != "basic" or not user:
        raise SystemExit(f"{path} is neither `basic USER:PASSWORD` nor `bearer TOKEN`")
    return HTTPBasicAuth(user, password)


def find(server, name):
    """The collection with this id, alias or title."""
    for root in server.api_roots:
        for collection in root.collections:
            if name in (collection.id, collection.alias, collection.title):
                return root, collection
    raise SystemExit(f"this credential sees no collection `{name}`; try: list")


def read(collection, since):
    """Everything that is new; what came while it was read may come again the next time, and nothing is missed."""
    filters = {}
    if since and since.exists():
        filters["added_after"] = since.read_text().strip()
    last = filters.get("added_after")
    for page in as_pages(collection.get_manifest, per_request=PER_REQUEST, **filters):
        for entry in page.get("objects", []):
            last = entry["date_added"]
    for page in as_pages(collection.get_objects, per_request=PER_REQUEST, **filters):
        for one in page.get("objects", []):
            print(json.dumps(one))
    if since and last:
        since.write_text(last + "\n")


def add(root, collection, path, patience):
    """Publishes a bundle's objects, and waits until of each one it is known what became of it."""
    bundle = json.loads(Path(path).read_text())
    status = collection.add_objects({"objects": bundle["objects"]}, timeout=patience, poll_interval=1)
    print(f"{status.status}: {status.success_count} published, {status.failure_count} not", file=sys.stderr)
    for failure in status.failures:
        print(f"{failure['id']}: {failure.get('message', 'refused')}", file=sys.stderr)
    if status.status != "complete":
        print(f"look again later: {root.url}status/{status.id}/", file=sys.stderr)
    return 0 if status.status == "complete" and not status.failures else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("discovery", help="the discovery URL, which ends with /taxii2/")
    parser.add_argument("--secret", required=True, help="a file with the credential")
    parser.add_argument("--roots", help="the server's authority in PEM, where it is none that browsers know")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("list", help="the collections that are seen")
    reading = what.add_parser("read", help="what is in a collection")
    reading.add_argument("collection")
    reading.add_argument("--since", type=Path, help="a file that keeps how far it was read")
    adding = what.add_parser("add", help="publishes a bundle's objects")
    adding.add_argument("collection")
    adding.add_argument("bundle")
    adding.add_argument("--patience", type=int, default=30, help="seconds to wait for the receipts")
    arguments = parser.parse_args()

    server = Server(arguments.discovery, auth=credential(arguments.secret), verify=arguments.roots or True)
    try:
        if arguments.what == "list":
            for root in server.api_roots:
                for one in root.collections:
                    can = " ".join(can for can in ("read", "write") if getattr(one, f"can_{can}"))
                    print(f"{one.id}  {one.title}  ({can})")
            return 0
        root, collection = find(server, arguments.collection)
        if arguments.what == "read":
            read(collection, arguments.since)
            return 0
        return add(root, collection, arguments.bundle, arguments.patience)
    except HTTPError as error:
        sys.exit(f"error: {error.response.status_code}: {error.response.text}")


if __name__ == "__main__":
    sys.exit(main())
