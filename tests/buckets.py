"""A bucket in a folder: the file system "pail://", whose objects lie under $PAIL.

It is what a bucket is to fsspec: objects appear whole, and there are no folders to make. Importing
this makes it known; processes that tests start import it too.
"""

import os
import shutil
import uuid

import fsspec
from fsspec.implementations.local import LocalFileSystem


class Pail(LocalFileSystem):
    """Objects under $PAIL."""

    protocol = "pail"

    @classmethod
    def _strip_protocol(cls, path):
        path = os.fspath(path).removeprefix("pail://").rstrip("/")
        return path if path.startswith("/") else os.path.join(os.environ["PAIL"], path)

    def find(self, path, **kwargs):
        result = super().find(path, **kwargs)
        return {name: about for name, about in result.items() if not name.endswith("~")}

    def pipe_file(self, path, value, mode="overwrite", **_):
        target, part = self._made(path)
        with open(part, "wb") as file:
            file.write(value)
        if mode == "create":
            try:
                os.link(part, target)
            finally:
                os.unlink(part)
        else:
            os.replace(part, target)

    def put_file(self, lpath, rpath, callback=None, **_):
        if os.path.isdir(lpath):
            return
        target, part = self._made(rpath)
        shutil.copyfile(lpath, part)
        os.replace(part, target)

    def get_file(self, rpath, lpath, callback=None, **_):
        shutil.copyfile(self._strip_protocol(rpath), lpath)

    def _made(self, path):
        target = self._strip_protocol(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return target, f"{target}.{uuid.uuid4().hex}~"


fsspec.register_implementation("pail", Pail, clobber=True)
