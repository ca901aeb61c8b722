"""Mistakes that people make, with the line that invkit prints and its exit code; the page of errors is made from them."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Mistake(NamedTuple):
    typed: str  # after `invkit`; None of it is quoted for the shell
    code: int
    printed: str  # a part of one line, with the way out; HERE stands for the working directory


GROUPS: dict[str, list[Mistake]] = {
    "Recipe": [
        Mistake("validate recipie.yaml", 2, "recipie.yaml:1:1: there is no such recipe (did you mean 'recipe.yaml'?)"),
        Mistake("validate mine", 2,
                "mine:1:1: a folder, and no run (it has no resolved.yaml); give a recipe, such as quickstart"),
        Mistake("validate photo.png", 2, "photo.png is no recipe, which is a .yaml file"),
        Mistake("validate tab.yaml", 2, "tab.yaml:3:1: a tab in the indentation; indent with spaces"),
        Mistake("validate brace.yaml", 2, "brace.yaml:3:1: not valid YAML: did not find expected ',' or '}'"),
        Mistake("validate list.yaml", 2, "list.yaml:1:1: a recipe is a mapping of sections (data:, degradation:, ...)"),
        Mistake("validate empty.yaml", 2,
                "empty.yaml:1:1: empty; `invkit show quickstart` prints a recipe to start from"),
        Mistake("validate twice.yaml", 2, "twice.yaml:3:1: data: written twice; the first is at twice.yaml:1:1"),
        Mistake("validate no_data.yaml", 2,
                "data: this setting is missing; write data: {name: photos}, or {name: images, root: FOLDER}"),
        Mistake("validate no_task.yaml", 2,
                "degradation: this setting is missing; write degradation: {name: NAME}; `invkit plugins` lists them"),
    ],
    "Settings": [
        Mistake("validate recipe.yaml degradation=sparse-rnadom", 2,
                "unknown degradation 'sparse-rnadom' (did you mean 'sparse-random'?)"),
        Mistake("validate recipe.yaml train.step=100", 2, "train.step: unknown setting (did you mean 'steps'?)"),
        Mistake("validate recipe.yaml steps=100", 2,
                "steps: unknown setting (known: data, degradation, diffusion, eval, log,"),
        Mistake("validate recipe.yaml --train.steps=100", 2, "Settings of a recipe have no dashes: train.steps=VALUE"),
        Mistake("validate recipe.yaml train.steps = 100", 2,
                "an override has the form key.path=value, no spaces around ="),
        Mistake("validate recipe.yaml eval.methods=[{name: dps", 2,
                "put quotes around an override that contains spaces"),
        Mistake("validate recipe.yaml train.steps=many", 2, "train.steps: should be a valid integer, got 'many'"),
        Mistake("validate recipe.yaml train.steps=1000.5", 2, "train.steps: should be a valid integer, got 1000.5"),
        Mistake("validate recipe.yaml train.steps=0", 2, "train.steps: should be greater than or equal to 1, got 0"),
        Mistake("validate recipe.yaml train.lr=1e-3x", 2, "train.lr: should be a valid number, got '1e-3x'"),
        Mistake("validate recipe.yaml train.grids=[]", 2, "train.grids: should have at least 1 item"),
        Mistake("validate recipe.yaml train.grids=[-1]", 2, "train.grids.0: should be greater than or equal to 1"),
        Mistake("validate recipe.yaml train.budget=10minutes", 2,
                "should be a number followed by s, m, h or d, as in 10m"),
        Mistake("validate recipe.yaml train.precision=fp16", 2,
                "train.precision: should be 'auto', 'bf16' or 'float32', got 'fp16'"),
        Mistake("validate recipe.yaml sample.method=ddim", 2,
                "unknown sampler 'ddim' (known: denoise, dpmpp-2m, em, heun, langevin, one-step)"),
        Mistake("validate recipe.yaml sample.method=one-step", 2,
                "train with train.one_step_share=0.5, or choose dpmpp-2m"),
        Mistake("validate recipe.yaml model=unet3", 2, "unknown network 'unet3' (did you mean 'unet'?)"),
        Mistake("validate recipe.yaml noise=0.1", 2, "noise: has settings of its own: write noise.sigma=0.1"),
        Mistake("validate recipe.yaml noise.sigma=-1", 2, "noise.sigma: should be greater than or equal to 0"),
        Mistake("validate recipe.yaml degradation.fraction=10", 2, "degradation.fraction: should lie in (0, 1]"),
        Mistake("validate recipe.yaml degradation.fraction=0.2 degradation.name=sparse-grid", 2,
                "has no effect: degradation.name=sparse-grid comes after it"),
        Mistake("validate recipe.yaml model.channels.x=3", 2, "model.channels is 16 and has no settings"),
        Mistake("validate recipe.yaml seed=-1", 2, "seed: should be greater than or equal to 0, got -1"),
        Mistake("validate recipe.yaml eval.methods=[modle]", 2, "unknown method 'modle' (did you mean 'model'?)"),
        Mistake("validate recipe.yaml eval.methods=[model,model]", 2,
                "eval.methods: should name each only once, or with different settings"),
        Mistake("validate recipe.yaml eval.methods.7.name=tv", 2,
                "eval.methods is not written in the recipe, so it has no items to change; give the whole list"),
        Mistake("validate recipe.yaml eval.metrics=[pnsr]", 2, "unknown metric 'pnsr' (did you mean 'psnr'?)"),
        Mistake("validate recipe.yaml eval.metrics=[psnr@4]", 2,
                "the metric 'psnr' is not computed for blocks; these are: crps"),
        Mistake("validate recipe.yaml train.clean=false degradation=blur-gaussian", 2,
                "train on clean images (train.clean=true)"),
    ],
    "Command line": [
        Mistake("rum recipe.yaml", 2, "No such command 'rum'. Did you mean 'run'?; `invkit --help` explains"),
        Mistake("run", 2, "Missing argument 'RECIPE'; `invkit run --help` explains"),
        Mistake("run recipe.yaml --ouput runs/a", 2, "No such option '--ouput'. Did you mean '--out'?"),
        Mistake("run recipe.yaml --seeds 1", 2, "--seeds 1: at least 2 are needed; leave it out for one"),
        Mistake("eval", 2, "Missing argument 'RUN... [KEY=VALUE]...'; `invkit eval --help` explains"),
        Mistake("eval run --format pdf", 2, "'pdf' is not one of 'table', 'json', 'csv', 'md', 'html'"),
        Mistake("eval run --columns pnsr eval.images=2", 2,
                "--columns: no metric 'pnsr' in the table (did you mean 'psnr'?)"),
        Mistake("eval run --name a/b", 2, "--name a/b: must be letters, digits, - and _"),
        Mistake("eval run eval.images=2 --from-saved", 2,
                "with --from-saved only eval.metrics, eval.paired_to can be overridden"),
    ],
    "Data": [
        Mistake("validate recipe.yaml data.root=mine", 2,
                "for images of your own, give data.name=images data.root=mine"),
        Mistake("validate recipe.yaml data.name=images", 2,
                "data.root: this setting is missing; write {name: images, root: ...}"),
        Mistake("validate recipe.yaml data.name=images data.root=nowhere", 3,
                "HERE/nowhere does not exist; set data.root to a folder, a .zip or an .npz of images"),
        Mistake("validate recipe.yaml data.name=images data.root=empty", 3, "HERE/empty holds no image (.bmp,"),
        Mistake("validate recipe.yaml data.name=images data.root=notes.txt", 3,
                "cannot be read as a folder, a .zip, an .npz or an .npy"),
        Mistake("validate recipe.yaml data.name=cifar10 data.root=nowhere", 3,
                "set data.root=PATH to a copy that you have"),
        Mistake("reconstruct run nowhere.png --out o", 3, "nowhere.png: no such file or folder in HERE"),
        Mistake("reconstruct run broken.png --out o", 3,
                "broken.png: cannot be read as an image (image file is truncated)"),
        Mistake("reconstruct run notes.txt --out o", 3,
                "notes.txt: neither an image nor points (arrays of measured values need --measured)"),
        Mistake("reconstruct run empty --out o", 3, "empty: no image in this folder"),
        Mistake("reconstruct run wrong.npy --out o --measured", 3,
                "y has shape (7, 9), and sparse-random measures (3, 16, 16) on 16x16: give the grid"),
    ],
    "Mask": [
        Mistake("reconstruct run photo.png --out o --mask nowhere.png", 3, "nowhere.png: no such mask in HERE"),
        Mistake("reconstruct run photo.png --out o --mask notes.txt", 3, "notes.txt: cannot be read as an image"),
        Mistake("reconstruct run photo.png --out o --mask other_size.png", 3,
                "24x24 pixels, and the mask other_size.png has 24x20; they must be equal"),
        Mistake("reconstruct run photo.png --out o --mask black.png", 3,
                "the mask is black everywhere, so that no pixel is observed; white means observed"),
        Mistake("reconstruct run photo.png --out o --invert-mask", 2,
                "--invert-mask is for a mask, and none is given; give --mask FILE"),
        Mistake("reconstruct run photo.png --out o --mask black.png --measured", 2,
                "give it without --mask (for images with a mask, --mask alone)"),
    ],
    "Points": [
        Mistake("reconstruct run no_header.csv --out o", 3,
                "and the run's images have 3 channels, so it must be x,y,r,g,b"),
        Mistake("reconstruct run one_channel.csv --out o", 3,
                "the header is 'x,y,temperature', and the run's images have 3 channels"),
        Mistake("reconstruct run text.csv --out o", 3,
                "text.csv:2: 'n/a' is not a number; write it as in 0.25, or leave the point out"),
        Mistake("reconstruct run ragged.csv --out o", 3,
                "ragged.csv:2: 4 fields, and the header has 5; decimal commas need fields separated by ';'"),
        Mistake("reconstruct run metres.csv --out o", 3,
                "is outside the unit square; divide pixel coordinates by the width and height"),
        Mistake("reconstruct run degrees.csv --out o", 3,
                "is far outside [-1, 1]; --range LOW HIGH gives the values of your unit"),
        Mistake("reconstruct run none.csv --out o", 3, "none.csv: the file has no points; at least one is needed"),
        Mistake("reconstruct run names.npz --out o", 3, "it needs arrays coordinates (N, 2) and values (N, 3)"),
        Mistake("reconstruct run points.csv --out o --range 5 5", 2,
                "--range 5 5: the first number must be the smaller one"),
        Mistake("reconstruct run points.csv --out o --mask black.png", 2,
                "--mask is for images, and no input is one; leave it out"),
    ],
    "Runs, checkpoints and models": [
        Mistake("run recipe.yaml seed=5 --out run", 2,
                "run holds a run with seed=3, now 5; give another folder with --out DIR"),
        Mistake("run recipe.yaml --out mine", 2,
                "mine is not empty and holds no run; give another folder with --out DIR"),
        Mistake("run recipe.yaml train.accumulate=3 --out o3", 2, "train.accumulate: 3 does not divide train.batch = 4"),
        Mistake("run recipe.yaml train.init=nowhere --out o2", 3,
                "train.init: HERE/nowhere, here or in runs, is no run folder"),
        Mistake("eval nowhere", 3,
                "nowhere, here or in runs, is no run folder (it has no resolved.yaml); `invkit run RECIPE` creates one"),
        Mistake("eval untrained", 3,
                "untrained has no checkpoint yet; `invkit run` with its recipe resumes the training"),
        Mistake("eval damaged", 3,
                "average.safetensors does not match the manifest); start again with --fresh"),
        Mistake("eval model.safetensors", 3,
                "is damaged, or no model of invkit (model.safetensors has no header); `invkit export RUN FILE` writes one"),
        Mistake("reconstruct recipe.yaml photo.png --out o", 3,
                "recipe.yaml is a recipe; `invkit run recipe.yaml` trains a model"),
        Mistake("reconstruct run photo.png --out o --calibrated", 2,
                "draw as many, or compute them with `invkit eval run eval.samples=19`"),
        Mistake("reconstruct run photo.png --out o --grid big", 2,
                "--grid big: must be N, HxW as in 48x64, or picture"),
        Mistake("reconstruct run photo.png --out o --sampler ddim", 2, "unknown sampler 'ddim' (known: denoise"),
        Mistake("export run model.txt", 2, "the name of a model file ends in .safetensors; give such a name"),
        Mistake("models photos-sprase", 2,
                "there is no such model (did you mean 'photos-sparse'?); `invkit models` lists them"),
    ],
    "Prior": [
        Mistake("validate recipe.yaml eval.methods=[dps]", 2,
                "eval.methods.0.prior: this setting is missing; write {name: dps, prior: ...}"),
        Mistake("eval run 'eval.methods=[{name: dps, prior: nowhere}]'", 3,
                "dps.prior: HERE/nowhere, here or in runs, is no run folder"),
        Mistake("eval run 'eval.methods=[{name: dps, prior: ./run}]'", 2,
                "a prior is trained on the degradation 'nothing', as the recipe photos_prior does"),
        Mistake("eval run 'eval.methods=[{name: dps, prior: \"pretrained:photo\"}]'", 2, "there is no such model"),
        Mistake("eval run eval.methods=[oracle]", 2, "requires images with a known distribution: data.name=fields"),
    ],
    "Plugin": [
        Mistake("validate recipe.yaml --plugin nowhere.py", 2, "File 'nowhere.py' does not exist"),
        Mistake("validate recipe.yaml --plugin syntax.py", 4, "SyntaxError: invalid syntax (syntax.py, line 1)"),
        Mistake("validate recipe.yaml --plugin imports.py", 4,
                "No module named 'not_installed_here'; install the package that has it with pip"),
        Mistake("validate recipe.yaml --plugin no_hook.py", 4,
                "provides nothing: it has none of the hooks invkit_datasets"),
        Mistake("validate recipe.yaml --plugin misspelt.py", 4,
                "there is no hook invkit_degradation (did you mean 'invkit_degradations'?)"),
        Mistake("validate recipe.yaml --plugin same_name.py", 4,
                "uninstall one of them, or choose plugins with INVKIT_PLUGINS"),
        Mistake("validate raising.yaml --plugin raising.py", 4,
                "fails: ZeroDivisionError: division by zero, line 4 of"),
        Mistake("plugins show nonsense", 2, "unknown name 'nonsense'"),
        Mistake("plugins show sparse-random fraction=3", 2, "fraction: should lie in (0, 1]"),
        Mistake("plugins new 3d", 2, "use letters, digits and hyphens, starting with a letter: my-blur"),
    ],
    "Device, memory and disk": [
        Mistake("eval run --device cuda", 2, "--device cuda: torch finds no CUDA device; use --device cpu or auto"),
        Mistake("eval run --device gpu", 2, "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        Mistake("run recipe.yaml --nproc 0", 2, "0 is not in the range x>=1"),
        Mistake("reconstruct run photo.png --out o --grid 60000", 3, "give a coarser --grid"),
        Mistake("run recipe.yaml --out photo.png", 2, "Directory 'photo.png' is a file"),
        Mistake("run recipe.yaml --out photo.png/run", 2, "photo.png: File exists; use another path"),
    ],
}  # fmt: skip
_PLUGIN = """\
from invkit.api import Degradation, hookimpl
class Own(Degradation):
    def sample(self, keys, grid):
        return 1 / 0
@hookimpl
def invkit_degradations():
    return {%r: Own}
"""
TEXTS = {
    "tab.yaml": "data: photos\ndegradation:\n\tname: sparse-random\n",
    "brace.yaml": "data: photos\ndegradation: {name: sparse-random\n",
    "list.yaml": "- data\n- photos\n",
    "empty.yaml": "",
    "twice.yaml": "data: photos\ndegradation: sparse-random\ndata: cifar10\n",
    "no_data.yaml": "degradation: sparse-random\n",
    "no_task.yaml": "data: photos\n",
    "raising.yaml": "data: photos\ndegradation: raising\n",
    "notes.txt": "no image",
    "no_header.csv": "0.1,0.2,0,0,0\n0.5,0.5,1,0,0\n",
    "one_channel.csv": "x,y,temperature\n0.1,0.2,11\n",
    "text.csv": "x,y,r,g,b\n0.1,0.2,0,n/a,0\n",
    "ragged.csv": "x,y,r,g,b\n0.1,0.2,0,0\n",
    "metres.csv": "x,y,r,g,b\n120,340,0,0,0\n",
    "degrees.csv": "x,y,r,g,b\n0.1,0.2,21.5,20,20\n",
    "none.csv": "x,y,r,g,b\n",
    "points.csv": "x,y,r,g,b\n0.1,0.2,0,0,0\n",
    "syntax.py": "def broken(:\n",
    "imports.py": "import not_installed_here\n",
    "no_hook.py": "x = 1\n",
    "misspelt.py": "from invkit.api import hookimpl\n@hookimpl\ndef invkit_degradation():\n    return {}\n",
    "same_name.py": _PLUGIN % "sparse-random",
    "raising.py": _PLUGIN % "raising",
    "model.safetensors": "no model",
}


def prepare(folder: Path, run: Path) -> None:
    """The files that the mistakes name, and copies of a run: as it is, damaged, and without checkpoints."""
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    numbers = np.random.default_rng(0)
    for name in ("photo.png", "mine/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(numbers.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes((folder / "photo.png").read_bytes()[:200])
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(folder / "black.png")
    Image.fromarray(np.full((20, 24), 255, np.uint8)).save(folder / "other_size.png")
    np.savez(folder / "names.npz", xy=np.zeros((3, 2)), v=np.zeros((3, 3)))
    np.save(folder / "wrong.npy", np.zeros((7, 9)))
    (folder / "empty").mkdir()
    for name in ("run", "damaged", "untrained"):
        shutil.copytree(run, folder / name)
    shutil.rmtree(folder / "untrained" / "checkpoints")
    for file in (folder / "damaged" / "checkpoints").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])


def page() -> str:
    """The page of errors."""
    lines = [
        "# Errors", "",
        "What people type by mistake, a part of the line that invkit prints, and the exit code. Every message says what is wrong, "
        "where, and how to go on. `INVKIT_DEBUG=1` adds the traceback.", "",
        "Exit codes: 2 recipe or usage, 3 data or checkpoint, 4 plugin, 5 non-finite numbers, 6 out of memory or disk, 75 stopped "
        "with the state saved, 1 a bug.",
    ]  # fmt: skip
    for group, mistakes in GROUPS.items():
        lines += ["", f"## {group}", "", "| typed | printed | code |", "| --- | --- | --- |"]
        for one in mistakes:
            typed, printed = (text.replace("|", "\\|") for text in (f"invkit {one.typed}", one.printed))
            lines.append(f"| `{typed}` | {_code(printed)} | {one.code} |")
    lines += ["", "## Later in a run", "", "| what | printed | code |", "| --- | --- | --- |"]
    lines += [f"| {what} | {_code(printed)} | {code} |" for what, (code, printed) in LATER.items()]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Inline code that may contain back quotes."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


LATER = {  # what happens while a run is computed
    "the disk is full": (6, "saved files are intact: free space and run the same command again"),
    "out of memory": (6, "run the same command again with train.accumulate=N (a divisor of train.batch)"),
}
