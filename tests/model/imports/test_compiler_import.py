"""torch's compiler stays out of a process that does not compile, and works in one that does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def answer_of(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_inspection_needs_no_compiler_and_the_compiler_works_after_it():
    text = answer_of(
        "import sys\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "from model import Checkpoint, open_checkpoint\n"
        "folder = max(Path('weights/solar').iterdir(), key=lambda p: int(p.name))\n"
        "detector = open_checkpoint(Checkpoint.load(folder))\n"
        "image = Image.open('samples/solar-mono/defective-1.png')\n"
        "detector.preparation(1)[0]()\n"
        "print(detector.inspect_images([image], 'solar-mono')[0].decision)\n"
        "print('torch._dynamo' in sys.modules)\n"
        "import torch, torch._dynamo\n"
        "from model.imports.torchvision_ops import ensure_importable\n"
        "ensure_importable()\n"
        "from timm.models.naflexvit import NaFlexRopeIterator\n"
        "from torchvision.ops import roi_align\n"
        "doubled = torch.compile(lambda x: x * 2, backend='eager')\n"
        "print(doubled(torch.ones(1)).item(), torch._dynamo.utils.__file__ is not None)\n"
        "boxes = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])\n"
        "print(torch.compiler.disable(lambda: 3)())\n"
    )
    assert text.split() == ["NG", "False", "2.0", "True", "3"]


def test_anything_else_of_the_compiler_is_the_real_one():
    text = answer_of(
        "import sys\n"
        "from model.imports.compiler_import import compiler_deferred\n"
        "with compiler_deferred():\n"
        "    import torch\n"
        "    marked = torch.compiler.disable(lambda: 5)\n"
        "    print(hasattr(sys.modules['torch._dynamo'], '__file__'), marked())\n"
        "    from torch._dynamo.exc import Unsupported\n"
        "    import torch._dynamo.utils\n"
        "print(Unsupported.__module__, torch._dynamo.__file__ is not None)\n"
    )
    assert text.split() == ["False", "5", "torch._dynamo.exc", "True"]
