"""The page of `--format web`: its own files, LiteRT.js, which runs the model, and dicom-parser.

These two are no part of this package. They come from the npm registry when a page is written, are
held to the SHA-512 below and kept in the cache folder of the user.
"""

import base64
import hashlib
import io
import os
import shutil
import tarfile
import urllib.request
from pathlib import Path

from transfuse_keras.errors import InputError
from transfuse_keras.files import replacing

PAGE = Path(__file__).parent / "page"
# package of npm -> (its SHA-512 as npm gives it, file in it -> file of the page)
NPM_PACKAGES = {
    "@litertjs/core@2.5.3": (
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        {
            "package/dist/index.js": "index.js",
            # of the four builds the one without relaxed SIMD: it runs in every browser and gives
            # the same numbers on every processor
            "package/wasm/litert_wasm_compat_internal.js": "litert_wasm_compat_internal.js",
            "package/wasm/litert_wasm_compat_internal.wasm": "litert_wasm_compat_internal.wasm",
        },
    ),
    "@litertjs/wasm-utils@2.5.3": (
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        {"package/dist/index.js": "wasm-utils.js"},
    ),
    "dicom-parser@1.8.21": (
        "lYCweHQDsC8UFpXErPlg86Px2A8bay0HiUY+wzoG3xv5GzgqVHU3lziwSc/Gzn7VV7y2KeP072SzCviuOoU02w==",
        {
            "package/dist/dicomParser.min.js": "dicom-parser.js",
            "package/LICENSE": "dicom-parser-license.txt",
        },
    ),
}
LARGEST_PACKAGE = 2**26  # bytes of a package


def write_page(folder):
    """Write all files of the page but the model into a new folder.

    Raises: InputError if a package cannot be had, or is not what it should be.
    """
    runtime = {}
    for name, (digest, files) in NPM_PACKAGES.items():
        with tarfile.open(fileobj=io.BytesIO(fetch_package(name, digest))) as archive:
            runtime |= {own: archive.extractfile(file).read() for file, own in files.items()}
    # a browser finds modules by path, not by the name of a package
    runtime["index.js"] = runtime["index.js"].replace(
        b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"'
    )
    shutil.copytree(PAGE, folder)
    (folder / "runtime").mkdir()
    (folder / "runtime-license.txt").rename(folder / "runtime" / "LICENSE.txt")
    for name, content in runtime.items():
        (folder / "runtime" / name).write_bytes(content)


def fetch_package(name, digest):
    """The archive of a package, "name@version", from the cache or the registry, bytes."""
    package, _, version = name.rpartition("@")
    url = f"https://registry.npmjs.org/{package}/-/{Path(package).name}-{version}.tgz"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "transfuse-keras")
    file = cache / f"{package.strip('@').replace('/', '-')}-{version}.tgz"
    if file.is_file():
        return checked(file.read_bytes(), name, digest, f"{file}: ", "remove it")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read(LARGEST_PACKAGE)
    except OSError as error:
        raise InputError(
            f"{url}: cannot be loaded ({error}); load it where there is a network and copy it to "
            f"{file}."
        ) from error
    checked(content, name, digest, f"{url}: ", "try again")
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_bytes(content)
    return content


def checked(content, name, digest, where, remedy):
    """Content that has this SHA-512 (base64), or InputError."""
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != digest:
        raise InputError(f"{where}is not {name} (its SHA-512 is another); {remedy}.")
    return content
