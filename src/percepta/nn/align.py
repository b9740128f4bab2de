"""The image-text space: sentence vectors and picture features made comparable. Versions 1 and 2.

Version 1 (`Align`, `fit`): a linear map takes MiniLM's sentence vector to the standardised 1280 features that
EfficientNet-Lite0 pools; their cosine says how well a sentence fits a picture, and at every place of the feature map,
where. The map is a ridge regression in closed form on two kinds of pairs: ImageNet class names with the classifier's
rows (what a feature vector of that class points at), and captions with the features of their pictures.

Version 2 (`Align2`, `fit2`) maps both sides, by regularised canonical correlation, and reads more of each: several
depths of the picture network and its class probabilities, several layers of MiniLM. It searches pictures better, and
says nothing about places in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from percepta.errors import InputError
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.text import TextEncoder, tokenise

TEXT, IMAGE = 384, 1280
WIDTH = 256  # of version 2
SIDE = 240  # pixels: version 2 was fitted on pictures squeezed to SIDE × SIDE


class Align(nn.Module):
    """Both sides' maps into one space of 1280 dimensions; vectors come out with length 1."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(IMAGE))
        self.register_buffer("scale", torch.ones(IMAGE))
        self.text_map = nn.Linear(TEXT, IMAGE)

    def image(self, features: Float[Tensor, "*b 1280"]) -> Float[Tensor, "*b 1280"]:
        """Unit vectors of pooled (or local) head features of EfficientNet-Lite0."""
        return functional.normalize((features - self.mean) / self.scale, dim=-1)

    def text(self, sentence: Float[Tensor, "*b 384"]) -> Float[Tensor, "*b 1280"]:
        """Unit vectors of MiniLM's sentence vectors."""
        return functional.normalize(self.text_map(sentence), dim=-1)

    def read(self, path: Path) -> None:
        """Fill from an asset that `write` made."""
        self.load_state_dict({k: v.float() for k, v in load_file(path).items()})

    def write(self, path: Path) -> None:
        """Store as float16."""
        save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, path)


# What version 2 looks at in a picture: name, width, and what its block counts against the first one.
VIEWS = (
    ("mean", 1280, 1.0),  # root of the head's mean, which is less skewed than the mean
    ("max", 1280, 0.5),
    ("power", 1280, 0.5),  # root of the head's mean square
    ("s32", 320, 0.4),
    ("s32max", 320, 0.4),
    ("s16", 112, 0.3),
    ("s16spread", 112, 0.3),
    ("classes", 1000, 0.4),  # root of ImageNet's softened probabilities
    ("concepts", 1000, 0.3),  # the probabilities themselves; `fit2` sees them as a mean of class names (ConSE)
)
LAYERS = (0, 3, 5, 6)  # of MiniLM, whose token means version 2 reads; 0 are the embeddings
TEXT2, IMAGE2 = TEXT * len(LAYERS), sum(width for _, width, _ in VIEWS)
TEMPERATURE = 2.0  # softens ImageNet's probabilities


class Align2(nn.Module):
    """Version 2: both sides mapped to unit vectors of `width` numbers; their cosine says how well they fit.

    A picture is read at several depths of one forward pass (`VIEWS`), a sentence at several layers (`LAYERS`); a linear
    map each, found by regularised canonical correlation (`fit2`), takes them to the space that they share.
    """

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.picture_map = nn.Linear(IMAGE2, WIDTH)
        self.text_map = nn.Linear(TEXT2, WIDTH)

    def pictures(self, encoder: EfficientNetLite0, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Unit vectors of RGB pictures in 0..1, squeezed to SIDE × SIDE. The encoder needs its classifier."""
        return self.image(picture_views(encoder, images))

    def sentences(self, encoder: TextEncoder, words: Sequence[str]) -> Float[Tensor, "m d"]:
        """Unit vectors of sentences, in their order; none gives a tensor of no rows."""
        return self.text(sentence_views(encoder, words))

    def image(self, views: Float[Tensor, "b v"]) -> Float[Tensor, "b d"]:
        """Unit vectors of what `picture_views` gave."""
        return functional.normalize(self.picture_map(views), dim=-1)

    def text(self, views: Float[Tensor, "m t"]) -> Float[Tensor, "m d"]:
        """Unit vectors of what `sentence_views` gave."""
        return functional.normalize(self.text_map(views), dim=-1)

    def read(self, path: Path) -> None:
        """Fill from an asset that `write` made."""
        self.load_state_dict({k: v.float() for k, v in load_file(path).items()})

    def write(self, path: Path) -> None:
        """Store the maps as float16; their offsets, of which large parts cancel, as float32."""
        temporary = path.with_suffix(".tmp")
        save_file({k: (v.half() if v.ndim > 1 else v).contiguous() for k, v in self.state_dict().items()}, temporary)
        temporary.replace(path)


@torch.no_grad()
def picture_views(encoder: EfficientNetLite0, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b v"]:
    """The numbers that version 2 reads off one forward pass, block by block as in `VIEWS`.

    Raises:
        InputError: the encoder was built without its classifier.
    """
    if not isinstance(encoder.classifier, nn.Linear):
        raise InputError(
            "version 2 of the image-text space reads ImageNet's classes: build EfficientNetLite0 with them"
        )
    seen = encoder(images)
    mean = seen.head.mean((2, 3))
    odds = (encoder.classifier(mean) / TEMPERATURE).softmax(-1)
    spread = seen.s16.var((2, 3), correction=0).sqrt()
    power = seen.head.square().mean((2, 3)).sqrt()
    blocks = (
        mean.sqrt(), seen.head.amax((2, 3)), power, seen.s32.mean((2, 3)), seen.s32.amax((2, 3)),
        seen.s16.mean((2, 3)), spread, odds.sqrt(), odds,
    )  # fmt: skip
    return torch.cat(blocks, 1)


@torch.no_grad()
def sentence_views(encoder: TextEncoder, words: Sequence[str], batch: int = 64) -> Float[Tensor, "m t"]:
    """Means over the real tokens after each of `LAYERS`, every one of length 1, together of length 1.

    Args:
        encoder: of sentences.
        words: m sentences.
        batch: how many at a time.
    """
    device = encoder.embeddings.LayerNorm.weight.device
    rows = [torch.zeros(0, TEXT2, device=device)]
    for at in range(0, len(words), batch):
        ids, mask = (t.to(device) for t in tokenise(words[at : at + batch]))
        weight = mask[..., None].to(torch.float32)
        x, kept = encoder.embeddings(ids), []
        for number in range(LAYERS[-1] + 1):
            if number:
                x = encoder.encoder["layer"][number - 1](x, mask)  # type: ignore[index]
            if number in LAYERS:
                kept.append(functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1))
        rows.append(torch.cat(kept, 1) / len(LAYERS) ** 0.5)
    return torch.cat(rows)


def fit(
    features: Float[Tensor, "n 1280"],
    captions: Float[Tensor, "n 384"],
    rows: Float[Tensor, "c 1280"],
    names: Float[Tensor, "c 384"],
    *,
    penalty: float = 3.0,
    names_weight: float = 3.0,
) -> Align:
    """Ridge regression from sentence vectors to standardised features, in closed form.

    Args:
        features: pooled head features, one for each caption.
        captions: their sentence vectors.
        rows: classifier rows of ImageNet's classes.
        names: sentence vectors of the class names.
        penalty: ridge penalty on the map (not on its offset), in units of pairs.
        names_weight: what a class name counts against a caption.
    """
    space = Align()
    space.mean.copy_(features.mean(0))
    space.scale.copy_(features.std(0).clamp_min(1e-3))
    # A classifier row is a direction in the raw features; scaling by the deviation turns it into one of the
    # standardised space, and its length is set to that of a typical picture.
    seen = (features - space.mean) / space.scale
    ideal = rows * space.scale
    ideal = functional.normalize(ideal - ideal.mean(0), dim=1) * seen.norm(dim=1).mean()
    x = torch.cat((captions, names))
    x = torch.cat((x, torch.ones(len(x), 1)), 1).double()
    y = torch.cat((seen, ideal)).double()
    weight = torch.cat((torch.ones(len(captions)), torch.full((len(names),), names_weight))).double()[:, None]
    ridge = torch.full((TEXT + 1,), penalty, dtype=torch.float64)
    ridge[-1] = 1e-6
    solution = torch.linalg.solve(x.T @ (weight * x) + ridge.diag(), x.T @ (weight * y))
    with torch.no_grad():
        space.text_map.weight.copy_(solution[:-1].T)
        space.text_map.bias.copy_(solution[-1])
    return space


def correlate(
    looks: Sequence[Float[Tensor, "p a"]],
    texts: Float[Tensor, "m b"],
    owner: Int[Tensor, " m"],
    *,
    width: int,
    ridges: tuple[float, float],
    extra: Float[Tensor, "a b"] | None = None,
    span: int = 900,
) -> tuple[Float[Tensor, "a d"], Float[Tensor, "b d"], Float[Tensor, " a"], Float[Tensor, " b"]]:
    """Canonical correlation (Hotelling 1936; for pictures and words Hardoon et al. 2004) with ridges.

    With C the covariances over pairs of a look and a caption, and U s V' the singular values of
    (Caa + ra)^(-1/2) Cab (Cbb + rb)^(-1/2), the maps are (Caa + ra)^(-1/2) U s and (Cbb + rb)^(-1/2) V s: directions
    count by how well they correlate. The pictures' map is sought among the `span` strongest principal directions of
    the pictures (means over their looks), so that wide features cost little.

    Args:
        texts: vectors of the captions.
        width: dimensions of what the two share.
        span: how many principal directions of the pictures are used.
        looks: the same pictures in several views (mirrored, cropped).
        owner: the picture of each text.
        ridges: what is added to every direction's variance, as a share of the total variance; pictures, texts.
        extra: what is added to Cab.

    Returns:
        The two maps and the two means that are to be taken off before them.
    """
    mean = torch.stack([look.mean(0) for look in looks]).mean(0)
    middle = torch.stack(list(looks)).mean(0) - mean
    power, vectors = torch.linalg.eigh(middle @ middle.T)
    kept = slice(max(int((power < power[-1] * 1e-6).sum()), len(power) - span), None)
    basis = middle.T @ (vectors[:, kept] / power[kept].sqrt())
    counted = [(look - mean)[owner] @ basis for look in looks]
    offset = torch.stack([x.mean(0) for x in counted]).mean(0)
    text_mean = texts.mean(0)
    y, pairs = texts - text_mean, len(texts) * len(looks)
    caa = torch.stack([(x - offset).T @ (x - offset) for x in counted]).sum(0) / pairs
    cab = torch.stack([(x - offset).T @ y for x in counted]).sum(0) / pairs
    if extra is not None:
        cab = cab + basis.T @ extra
    left, right = _inverse_root(caa, ridges[0]), _inverse_root(y.T @ y / len(y), ridges[1])
    u, s, v = torch.linalg.svd(left @ cab @ right, full_matrices=False)
    return basis @ (left @ u[:, :width] * s[:width]), right @ v[:width].T * s[:width], mean + basis @ offset, text_mean


def _inverse_root(covariance: Tensor, ridge: float) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * (values.clamp_min(0) + ridge * values.sum()) ** -0.5 @ vectors.T


def fit2(
    looks: Sequence[Float[Tensor, "p v"]],
    captions: Float[Tensor, "m t"],
    owner: Int[Tensor, " m"],
    rows: Float[Tensor, "c 1280"],
    names: Float[Tensor, "c t"],
    *,
    ridges: tuple[float, float] = (0.003, 0.0006),
    names_weight: float = 0.3,
) -> Align2:
    """Version 2 in closed form: `correlate` on standardised, weighted blocks, folded into one linear map a side.

    Args:
        looks: `picture_views` of the pictures; whole first, then mirrored and cropped ones.
        captions: `sentence_views` of their captions.
        owner: the picture of each caption.
        rows: classifier rows of ImageNet's classes, in their order.
        names: `sentence_views` of "a photo of <class>".
        ridges: see `correlate`.
        names_weight: what a class counts against a caption, whose picture then is the direction of its row.

    Raises:
        InputError: there are too few pictures or captions for a space of `WIDTH` dimensions.
    """
    if min(len(looks[0]), len(captions)) <= WIDTH:
        raise InputError(
            f"a space of {WIDTH} dimensions is fitted on more than {WIDTH} pictures and as many captions, "
            f"got {len(looks[0])} and {len(captions)}: add captioned pictures"
        )
    widths = [width for _, width, _ in VIEWS]
    # The last block as the mean of its class names (ConSE, Norouzi et al. 2014), by MiniLM's last layer.
    meaning = names[:, -TEXT:] - names[:, -TEXT:].mean(0)
    turned = [torch.cat((look[:, : -widths[-1]], look[:, -widths[-1] :] @ meaning), 1) for look in looks]
    widths[-1] = TEXT
    whole = turned[0]
    mean, scale = whole.mean(0), whole.std(0).clamp_min(1e-3)
    gains = []
    for block, (_, _, weight) in zip(((whole - mean) / scale).split(widths, 1), VIEWS, strict=True):
        gains.append(torch.full((block.shape[1],), weight) / block.norm(dim=1).mean())
    gain = torch.cat(gains) / scale
    # A classifier row is a direction of the head's means; it gets the length of a typical picture's first block.
    ideal = rows * whole[:, : widths[0]].square().std(0).clamp_min(1e-3)
    ideal = functional.normalize(ideal - ideal.mean(0), dim=1) * VIEWS[0][2]
    extra = torch.zeros(len(gain), names.shape[1])
    extra[: widths[0]] = names_weight / len(captions) * ideal.T @ (names - names.mean(0))
    maps = correlate(
        [(look - mean) * gain for look in turned], captions, owner, width=WIDTH, ridges=ridges, extra=extra
    )
    return _folded(*maps, mean=mean, gain=gain, meaning=meaning)


@torch.no_grad()
def _folded(
    pictures: Tensor,
    texts: Tensor,
    picture_mean: Tensor,
    text_mean: Tensor,
    *,
    mean: Tensor,
    gain: Tensor,
    meaning: Tensor,
) -> Align2:
    """Standardising, weighing and the class names' vectors become part of the linear maps."""
    space = Align2()
    scaled = gain[:, None] * pictures
    bias = -(mean @ scaled) - picture_mean @ pictures
    weight = torch.cat((scaled[:-TEXT], meaning @ scaled[-TEXT:]))
    for layer, w, b in ((space.picture_map, weight, bias), (space.text_map, texts, -(text_mean @ texts))):
        size = w.square().mean().sqrt()  # lengths are free: these suit float16
        layer.weight.copy_((w / size).T)
        layer.bias.copy_(b / size)
    return space


def recall(
    image: Float[Tensor, "n d"],
    text: Float[Tensor, "m d"],
    owner: list[int],
    at: tuple[int, ...] = (1, 5, 10),
) -> dict[int, float]:
    """Text-to-image recall@k: the share of sentences whose own picture is among the k nearest.

    Args:
        image: unit vectors of n pictures.
        text: unit vectors of m sentences.
        owner: the picture of each sentence.
        at: the values of k.
    """
    scores = text @ image.T
    own = scores.gather(1, torch.tensor(owner)[:, None])
    rank = (scores > own).sum(1)
    return {k: float((rank < k).float().mean()) for k in at}
