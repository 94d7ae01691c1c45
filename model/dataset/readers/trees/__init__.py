"""Trees of folders whose names label the images: the reader of every layout without a list.

Tree("mvtec", "MVTec").read(Request(Path("data/mvtec")))
"""

from model.dataset.readers.trees.places import Place, Reading
from model.dataset.readers.trees.recognising import categories_in, has_words, holds_good
from model.dataset.readers.trees.tree import Tree

__all__ = ["Place", "Reading", "Tree", "categories_in", "has_words", "holds_good"]
