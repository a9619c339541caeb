"""The page of `--format web` in a real browser: it makes the masks of `transfuse predict`.

Needs Chromium (`apt-get install chromium`), and the npm registry for LiteRT.js and axe-core.
"""

import functools
import http.server
import json
import re
import shutil
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from browser import WEBGPU, browsing, find_violations, launch
from data.files import picture
from data.test_dicom import write_dicom
from PIL import Image
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from transfuse_keras.cli import main
from transfuse_keras.data.phantoms import phantoms
from transfuse_keras.data.pictures import CLASS_COLORS
from transfuse_keras.data.readers import read_image
from transfuse_keras.data.resize import resize_image
from transfuse_keras.errors import InputError
from transfuse_keras.export import web
from transfuse_keras.inference.masks import MARGIN, to_masks
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.metrics import dice
from transfuse_keras.runs.embedded import read_embedded, write_embedded
from transfuse_keras.tasks import hip, prostate

SIZE = (32, 48)
PATIENCE = 90_000  # ms, on a busy machine


def test_another_runtime_than_the_known_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "transfuse-keras" / "litertjs-core-2.5.3.tgz"
    file.parent.mkdir()
    file.write_bytes(b"another")
    with pytest.raises(InputError, match=f"{file.name}: .*SHA-512"):
        web.write_page(tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_its_classes_have_the_colours_of_the_report():
    line = re.search("const COLOURS = (.*);", (web.PAGE / "app.js").read_text(encoding="utf-8"))
    assert tuple(json.loads(line[1])) == CLASS_COLORS


def test_its_margin_of_sure_components_is_that_of_the_package():
    line = re.search("const MARGIN = (.*?);", (web.PAGE / "pixels.js").read_text(encoding="utf-8"))
    assert float(line[1]) == MARGIN


def test_without_a_network_it_says_where_the_runtime_belongs(tmp_path, monkeypatch):
    def fail(url, timeout):
        raise OSError("no route")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(web.urllib.request, "urlopen", fail)
    with pytest.raises(InputError, match=f"no route.*{tmp_path}.*litertjs-core-2.5.3.tgz"):
        web.write_page(tmp_path / "page")


def test_a_task_on_volumes_has_no_page(smallest, tmp_path):
    from transfuse_keras.export.litert import export_web

    model = smallest((32, 32, 2), 2, normalization=prostate.normalization)
    with pytest.raises(InputError, match="--format web.*volumes"):
        export_web(model, tmp_path / "web")
    assert not [*tmp_path.iterdir()]


@pytest.fixture(scope="module")
def page_folder(lively_model, litert_file, tmp_path_factory):
    """The folder that `transfuse export --format web` writes; its model is not converted anew."""
    from lively import phantom_run

    from transfuse_keras.export import litert

    run = phantom_run(tmp_path_factory.mktemp("runs") / "hip", lively_model, hip)
    thresholds = {"pelvis": 0.5, "left_femur": 0.437, "right_femur": 0.551}
    (run / "threshold.json").write_text(json.dumps({"thresholds": thresholds}))

    def copy(model, path, quantize, calibration):
        shutil.copy(litert_file, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litert, "export_litert", copy)
        code = main(["export", "--model", str(run), "--format", "web", "--out", str(run / "out")])
    if code == 2:
        pytest.skip("LiteRT.js cannot be had from the npm registry")
    assert code == 0
    return run / "out" / "web"


class Server(http.server.ThreadingHTTPServer):
    """Hands out a folder on the loopback; `asked` lists the paths that were asked for."""

    def __init__(self, folder):
        self.asked = asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *arguments):
                asked.append(self.path)

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, address):
        pass  # the browser hangs up on what it does not need

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def opened(browser, page_folder):
    """(page, server), the model loaded."""
    server = Server(page_folder)
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    told(page, "Ready|cannot")
    return page, server


def spoken(name):
    return name.replace("_", " ")


def told(page, pattern):
    """What the page says, as soon as it says this."""
    status = page.locator("#status", has_text=re.compile(pattern))
    status.wait_for()
    return status.text_content()


def segment(page, path):
    page.set_input_files("#file", path)
    return told(page, rf"{re.escape(path.name)}(.* s by | cannot)")


def save_interlaced(path, pixels):
    """A PNG in Adam7's seven passes, which neither Pillow nor OpenCV writes."""
    height, width, _ = pixels.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for y, x, dy, dx in passes for row in pixels[y::dy, x::dx] if row.size]
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Picture files of all kinds that the page reads, larger and smaller than the model."""
    folder = tmp_path_factory.mktemp("pictures")
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype="uint8")

    def colours(height, width):
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    def save(name, pixels, **options):
        Image.fromarray(pixels).save(folder / name, **options)

    grey = colours(75, 101)[..., 0]
    save("larger.png", colours(96, 144))
    save("odd.png", colours(111, 173))
    save("half.png", colours(64, 96))
    save("smaller.png", colours(20, 30))
    save("wider.png", colours(20, 100))
    save("grey.png", grey)
    save("ten-bits.png", grey.astype("uint16") * 4 + 1)
    save("two-colours.png", grey > 128)
    Image.fromarray(colours(50, 60)).quantize(16).save(folder / "palette.png")
    clear = np.concatenate([colours(60, 70), colours(60, 70)[..., :1]], axis=-1)
    save("transparent.png", clear)
    deep = colours(66, 88).astype("uint16") * 257
    cv2.imwrite(str(folder / "sixteen-bits.png"), deep)
    save_interlaced(folder / "interlaced.png", colours(43, 61))
    save("grey.jpg", grey)
    save("photo.jpg", colours(90, 120), quality=92)
    save("turned.jpg", colours(90, 120)[..., 0], exif=exif_turned(6))
    save("lossless.webp", colours(70, 90), lossless=True)
    save("upright.webp", colours(70, 90), lossless=True, exif=exif_turned(1))
    save("lossy.webp", colours(70, 90))
    save_dicom(folder, grey)
    return folder


def exif_turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def save_dicom(folder, grey):
    """Grey uint8 pixels as what hospitals have: by windows, slopes, signs, inverted, 8 bits."""
    values = grey.astype("uint16") * 16
    hounsfield = {"RescaleSlope": 0.3, "RescaleIntercept": -200.7}
    wide, exact = {"WindowCenter": 2047, "WindowWidth": 3001}, {"VOILUTFunction": "LINEAR_EXACT"}
    write_dicom(folder / "window.dcm", values, **wide)
    write_dicom(folder / "many.dcm", values, WindowCenter=[900, 40], WindowWidth=[1500, 80])
    write_dicom(folder / "slope.dcm", values, **hounsfield, WindowCenter=300, WindowWidth=701.5)
    write_dicom(folder / "narrow.dcm", values, WindowCenter=2000, WindowWidth=1)
    write_dicom(
        folder / "inverse.dcm", values, **wide, **exact, PhotometricInterpretation="MONOCHROME1"
    )
    write_dicom(folder / "shape.dcm", values, **wide, PresentationLUTShape="INVERSE")
    signed = {"PixelRepresentation": 1, "RescaleSlope": -1, "RescaleIntercept": 10}
    write_dicom(
        folder / "signed.dcm",
        values.astype("int16") - 2048,
        **signed,
        WindowCenter=0,
        WindowWidth=900,
    )
    eight = {
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "WindowCenter": 99,
        "WindowWidth": 150,
    }
    write_dicom(folder / "eight.dcm", grey, **eight)
    dicom = pydicom.dcmread(folder / "slope.dcm")
    dicom.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dicom.save_as(folder / "implicit.dcm", implicit_vr=True, little_endian=True)


EXACT = """async (bytes) => {
    const {readPicture} = await import("./picture.js");
    const {toBytes} = await import("./pixels.js");
    const {width, height, channels, pixels} = await readPicture(new Blob([new Uint8Array(bytes)]));
    const seen = pixels instanceof Uint16Array ? toBytes(pixels, null) : pixels;
    return {shape: [height, width, channels], pixels: [...seen]};
}"""


@pytest.mark.slow
def test_a_picture_is_read_as_the_package_reads_it(opened, pictures):
    page, _ = opened
    for path in sorted(pictures.iterdir()):
        found = page.evaluate(EXACT, list(path.read_bytes()))
        pixels = np.array(found["pixels"], "uint8").reshape(found["shape"])
        wanted = read_image(path, 3)
        difference = np.abs(pixels.astype(int) - wanted)
        assert difference.max() == 0, (path.name, difference.max(), (difference > 0).mean())


@pytest.mark.slow
def test_a_picture_is_resized_as_the_package_resizes_it(opened):
    page, _ = opened
    script = """async ([pixels, from, to]) => {
        const {resize} = await import("./pixels.js");
        return [...resize(Uint8Array.from(pixels), from, to)];
    }"""
    rng = np.random.default_rng(0)
    shapes = [(64, 96, 3), (96, 144, 3), (100, 150, 1), (97, 143, 3), (33, 49, 1), (20, 30, 3)]
    for shape in [*shapes, (20, 100, 3), (64, 48, 3), (128, 192, 1)]:
        image = rng.integers(0, 256, shape, dtype="uint8")
        found = page.evaluate(script, [image.ravel().tolist(), shape, SIZE])
        np.testing.assert_array_equal(
            np.reshape(found, (*SIZE, shape[2])), resize_image(image, SIZE), err_msg=str(shape)
        )


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [False, True])
def test_masks_are_made_as_the_package_makes_them(exclusive, opened):
    page, _ = opened
    script = """async ([maps, size, thresholds, exclusive, sure]) => {
        const {toMasks} = await import("./pixels.js");
        const [H, W] = size;
        const given = [Float32Array.from(maps), size, [H, W], thresholds, exclusive, sure];
        return toMasks(...given).map((mask) => [...mask]);
    }"""
    noise = np.random.default_rng(0).random((31, 47, 3))
    maps = np.clip(2 * cv2.GaussianBlur(noise, (7, 7), 2) - 0.5, 0, 1).astype("float32")
    sure, thresholds = [0, 2], [0.5, 0.5, 0.55]
    given = [maps.ravel().tolist(), maps.shape, thresholds, exclusive, sure]
    found = np.stack([np.reshape(mask, maps.shape[:2]) for mask in page.evaluate(script, given)], 2)
    np.testing.assert_array_equal(found, to_masks(maps, thresholds, exclusive, sure))
    kept, every = found.sum(axis=(0, 1)), to_masks(maps, thresholds, exclusive).sum(axis=(0, 1))
    assert 0 < kept[0] < every[0] and kept[1] == every[1] and 0 < kept[2] < every[2]


# what a click on a button would download; Chromium refuses many downloads of one page at times
CATCH = """() => {
    const create = URL.createObjectURL;
    URL.createObjectURL = (blob) => { window.caught = {blob}; return create.call(URL, blob); };
    HTMLAnchorElement.prototype.click = function () { window.caught.name = this.download; };
}"""
CAUGHT = """async () => {
    while (!window.caught?.name) await new Promise((done) => setTimeout(done, 10));
    const {blob, name} = window.caught;
    window.caught = null;
    return [name, [...new Uint8Array(await blob.arrayBuffer())]];
}"""


@pytest.mark.slow
def test_a_mask_is_saved(opened, pictures, tmp_path):
    page, _ = opened
    segment(page, pictures / "odd.png")
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save mask of {spoken(hip.classes[0])}").click()
    download.value.save_as(tmp_path / "mask.png")
    assert download.value.suggested_filename == f"odd_{hip.classes[0]}.png"
    assert cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED).shape == (111, 173)


@pytest.mark.slow
def test_the_masks_are_those_of_predict_and_nothing_is_sent(
    opened, page_folder, pictures, tmp_path
):
    page, server = opened
    # `predict` reads the same file, alone in its folder: task and thresholds are inside it
    (tmp_path / "alone").mkdir()
    model = Path(shutil.copy(page_folder / "model.tflite", tmp_path / "alone"))
    chosen = sorted(pictures.iterdir())
    assert len(chosen) > 10
    before = len(server.asked)
    page.evaluate(CATCH)
    for path in chosen:
        assert predict_files(model, [path], tmp_path / "wanted", overlays=False, seg="none") == 0
        assert " s by WebAssembly" in segment(page, path)
        areas = page.locator("#classes li").all_text_contents()
        for name, area in zip(hip.classes, areas, strict=True):
            page.get_by_role("button", name=f"Save mask of {spoken(name)}").click()
            saved, content = page.evaluate(CAUGHT)
            assert saved == f"{path.stem}_{name}.png"
            found = cv2.imdecode(np.array(content, "uint8"), cv2.IMREAD_UNCHANGED)
            wanted = cv2.imread(str(tmp_path / "wanted" / saved), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(found, wanted, err_msg=saved)
            assert f"{np.count_nonzero(wanted):,} pixels" in area
    assert server.asked[before:] == []
    everything = [*(tmp_path / "wanted").iterdir()]
    shown = [cv2.imread(str(file), 0).mean() / 255 for file in everything]
    assert 0.1 < np.mean(shown) < 0.9  # masks that tell something


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
def test_a_quantised_model_gives_the_masks_of_predict(
    quantize, browser, page_folder, lively_model, pictures, tmp_path
):
    from transfuse_keras.export.litert import export_litert

    folder = shutil.copytree(page_folder, tmp_path / "web")
    model = folder / "model.tflite"
    about = read_embedded(model)
    export_litert(lively_model, model, quantize, phantoms("hip", 8, SIZE)[0].astype("float32"))
    write_embedded(model, about)
    path = pictures / "odd.png"
    assert predict_files(model, [path], tmp_path / "out", overlays=False, seg="none") == 0
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(Server(folder).url)
    assert "Ready" in told(page, "Ready|cannot")
    page.evaluate(CATCH)
    segment(page, path)
    for name in hip.classes:
        page.get_by_role("button", name=f"Save mask of {spoken(name)}").click()
        saved, content = page.evaluate(CAUGHT)
        found = cv2.imdecode(np.array(content, "uint8"), cv2.IMREAD_UNCHANGED) > 0
        wanted = cv2.imread(str(tmp_path / "out" / saved), cv2.IMREAD_UNCHANGED) > 0
        assert dice(wanted, found) > 0.99 and 0 < wanted.mean() < 1
    page.close()


@pytest.mark.slow
def test_a_file_that_is_no_picture_is_answered_in_a_sentence(opened, pictures, tmp_path):
    page, _ = opened
    whole = {kind: (pictures / kind).read_bytes() for kind in ("odd.png", "photo.jpg")}
    whole["lossless.webp"] = (pictures / "lossless.webp").read_bytes()
    damaged = bytearray(whole["odd.png"])
    damaged[len(damaged) // 2] ^= 255
    files = {
        **{f"short-{name}": content[: len(content) * 2 // 3] for name, content in whole.items()},
        "flipped.png": bytes(damaged),
        "note.txt": b"no picture",
        "empty.png": b"",
        "film.dcm": bytes(128) + b"DICM",
    }
    print_picture = Image.fromarray(picture(1)).convert("CMYK")
    print_picture.save(tmp_path / "print.jpg")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    values = np.full((8, 8), 99, "uint16")
    window = {"WindowCenter": 99, "WindowWidth": 50}
    write_dicom(tmp_path / "compressed.dcm", values, RLELossless, frames=[b"\0" * 64], **window)
    write_dicom(tmp_path / "windowless.dcm", values)
    write_dicom(tmp_path / "sigmoid.dcm", values, **window, VOILUTFunction="SIGMOID")
    write_dicom(tmp_path / "cine.dcm", np.stack([values, values]), **window, NumberOfFrames=2)
    write_dicom(tmp_path / "missing.dcm", values[:4], **window, Rows=8)
    write_dicom(tmp_path / "bits.dcm", values + 4096, **window)
    write_dicom(tmp_path / "flat.dcm", values, **window, RescaleSlope=0, RescaleIntercept=0)
    whole_dicom = (pictures / "window.dcm").read_bytes()
    (tmp_path / "short.dcm").write_bytes(whole_dicom[: len(whole_dicom) * 2 // 3])
    turned = {"turned.webp": b"", "turned-as-in-jpeg.webp": b"Exif\0\0"}
    for name, begin in turned.items():
        Image.fromarray(picture(1)).save(tmp_path / name, exif=begin + exif_turned(6))
    dicoms = [path.name for path in tmp_path.glob("*.dcm")]
    for name in (*files, "print.jpg", *turned, *dicoms):
        said = segment(page, tmp_path / name)
        assert re.fullmatch(rf"{name} cannot be read: [^.]+\.", said), said
        assert page.locator("#result").is_hidden()


@pytest.mark.slow
def test_the_policy_is_in_force(opened):
    page, _ = opened
    script = """(start) => new Promise((resolve) => {
        const tell = (event) => resolve(event.effectiveDirective);
        addEventListener("securitypolicyviolation", tell, {once: true});
        start === "fetch" ? fetch("http://127.0.0.1:9/").catch(() => null)
            : document.head.append(Object.assign(document.createElement("script"), {text: "0"}));
    })"""
    assert page.evaluate(script, "fetch") == "connect-src"
    assert page.evaluate(script, "script").startswith("script-src")
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert "unsafe" not in policy.replace("'wasm-unsafe-eval'", "")


@pytest.mark.slow
def test_the_keyboard_is_enough(opened, pictures):
    page, _ = opened
    # from the first listener on Chromium hands choosers over; it takes until after a key press
    page.on("filechooser", lambda chooser: None)
    page.reload()
    told(page, "Ready")
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(pictures / "odd.png")
    told(page, " s by ")
    row = page.locator("#classes li").first
    before = row.text_content()
    for _ in range(3):  # the opacity, whether the first class is shown, its threshold
        page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.ariaLabel")
    assert focused == f"{spoken(hip.classes[0])}: from probability"
    page.keyboard.press("ArrowRight")
    assert "0.51" in row.text_content() and row.text_content() != before


@pytest.mark.slow
def test_it_is_accessible_at_the_width_of_a_phone(opened, pictures):
    page, _ = opened
    segment(page, pictures / "odd.png")
    for width in (1100, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert find_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_it_opens_and_works_when_the_server_is_gone(browser, page_folder, pictures):
    server = Server(page_folder)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    assert "without a network" in told(page, "Ready|cannot")
    server.shutdown()
    server.server_close()
    page.reload()
    told(page, "Ready")
    assert " s by " in segment(page, pictures / "odd.png")


@pytest.mark.slow
def test_a_graphics_card_that_fails_leaves_the_model_to_webassembly(browser, page_folder, pictures):
    """LiteRT.js lacks attention on WebGPU, and the build of the page cannot share a model."""
    with launch(browser.browser_type, WEBGPU) as another:
        page = another.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(Server(page_folder).url)
        if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
            pytest.skip("this Chromium has no WebGPU")
        assert "WebAssembly" in told(page, "Ready|cannot")
        assert "WebAssembly" in segment(page, pictures / "odd.png")
