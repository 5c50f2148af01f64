"""The synthetic world: the same every time, true to its own ground truth, and novel things where they belong."""

import json
from itertools import pairwise

import numpy as np
import pytest

from eval.synthetic_world import (
    LEVELS,
    STUFF,
    STYLES,
    THINGS,
    UNSEEN_STYLE,
    render_image,
    render_video,
    stuff_text,
    thing_indices,
    things_text,
    vocabulary,
)
from eval.synthetic_world.background import draw_background
from eval.synthetic_world.captions import colour_word, write_caption
from eval.synthetic_world.concepts import plural, with_article
from eval.synthetic_world.image import styles_of
from eval.synthetic_world.motion_paths import Camera
from eval.synthetic_world.sprites import CELL, MARGIN, Bend, Pose, Sprite, load_style, stamp
from eval.synthetic_world.textures import TILE, tile
from eval.synthetic_world.write import main as write_main
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.vocabulary import Vocabulary

SIZE = {"height": 96, "width": 160}


def test_the_vocabulary_is_the_two_texts_and_no_word_stands_twice():
    words = Vocabulary.build(things=things_text(), stuff=stuff_text())
    assert words.checksum == vocabulary().checksum
    assert len(words) == len(THINGS) + len(STUFF) == 99
    assert [category.is_thing for category in words] == [True] * len(THINGS) + [False] * len(STUFF)


def test_base_and_novel_are_a_partition():
    base, novel = set(thing_indices("base")), set(thing_indices("novel"))
    assert (len(base), len(novel)) == (62, 24)
    assert base | novel == set(thing_indices("all"))
    assert not base & novel


@pytest.mark.parametrize("style", STYLES)
def test_every_thing_has_its_sprites_in_every_style(style):
    sprites = load_style(style)
    for thing in THINGS:
        for icon in thing.icons:
            sprite = sprites[icon]
            assert max(sprite.height, sprite.width) == CELL
            assert 0.1 < sprite.fill <= 1.0
            for level in range(4):
                alpha = np.asarray(sprite.level(level).getchannel("A"))
                edge = np.ones(alpha.shape, dtype=bool)
                edge[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
                assert not alpha[edge].any()


@pytest.mark.parametrize("kind", ["scene", "object"])
def test_a_seed_is_a_picture(kind):
    first, again = (render_image(7, **SIZE, kind=kind) for _ in range(2))
    assert first.rgb.tobytes() == again.rgb.tobytes()
    assert first.id_map.tobytes() == again.id_map.tobytes()
    assert (first.segments, first.caption) == (again.segments, again.caption)
    for other in (render_image(8, **SIZE, kind=kind), render_image(7, **SIZE, kind=kind, split="dev")):
        assert other.rgb.tobytes() != first.rgb.tobytes()


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_segments_and_map_agree_and_the_caption_names_what_is_visible(split):
    categories = vocabulary()
    for seed in range(12):
        image = render_image(seed, **SIZE, split=split)
        areas = np.bincount(image.id_map.ravel(), minlength=1)
        assert {s.id: s.area for s in image.segments} == {int(i): int(areas[i]) for i in np.flatnonzero(areas) if i}
        assert all(0 < s.visible <= 1 for s in image.segments)
        assert all(s.is_thing == (s.category < len(THINGS)) for s in image.segments)
        stuff = [s.category for s in image.segments if not s.is_thing]
        assert len(stuff) == len(set(stuff))
        # Every noun means a visible category, every visible category has a noun, and the sentence says it.
        meant = {i for i, c in enumerate(categories) for noun in image.nouns if noun in c.names}
        assert meant == {s.category for s in image.segments}
        for noun in image.nouns:
            assert noun in image.caption or plural(noun) in image.caption


def test_base_pictures_never_show_a_novel_thing():
    base = set(thing_indices("base"))
    for seed in range(120):
        for kind in ("scene", "object"):
            image = render_image(seed, height=32, width=32, concepts="base", kind=kind)
            assert {s.category for s in image.segments if s.is_thing} <= base
            assert not {noun for noun in image.nouns for i in thing_indices("novel") if noun in THINGS[i].names}
    for seed in range(8):
        for frame in render_video(seed, level="hard", frames=2, **SIZE, concepts="base"):
            assert {s.category for s in frame.segments if s.is_thing} <= base


def test_all_pictures_show_every_thing_sooner_or_later():
    shown = {
        segment.category
        for seed in range(900)
        for segment in render_image(seed, height=32, width=32, kind="object").segments
        if segment.is_thing
    }
    assert shown == set(thing_indices("all"))


def test_only_the_test_split_shows_the_unseen_style():
    assert UNSEEN_STYLE in styles_of("test")
    assert UNSEEN_STYLE not in styles_of("train") + styles_of("dev")
    unseen = render_image(0, **SIZE, split="test", styles=(UNSEEN_STYLE,))
    assert unseen.rgb.tobytes() != render_image(0, **SIZE, split="test").rgb.tobytes()


def square(colour=(255, 0, 0)):
    """A sprite of one colour that fills its box."""
    from PIL import Image

    levels = []
    for shrink in (1, 2, 4, 8):
        side = CELL // shrink
        level = Image.new("RGBA", (side + 2 * MARGIN,) * 2)
        level.paste((*colour, 255), (MARGIN, MARGIN, MARGIN + side, MARGIN + side))
        levels.append(level)
    return Sprite("plain", "square", tuple(levels), CELL, CELL, 1.0)


@pytest.mark.parametrize("side", [20, 33, 60, 150])
@pytest.mark.parametrize("angle", [0, 20, -45])
def test_a_stamp_covers_the_pixels_whose_centres_lie_inside(side, angle):
    pose = Pose(y=100.3, x=90.6, side=side, angle=angle)
    mark = stamp(square(), pose, height=200, width=220)
    found = np.zeros((200, 220), dtype=bool)
    found[mark.window] = mark.own
    y, x = np.mgrid[0:200, 0:220] + 0.5
    turn = np.deg2rad(angle)
    along = np.cos(turn) * (x - pose.x) + np.sin(turn) * (y - pose.y)
    across = np.cos(turn) * (y - pose.y) - np.sin(turn) * (x - pose.x)
    distance = np.maximum(abs(along), abs(across)) - side / 2
    # Half opacity runs along the outline to within half a pixel.
    assert found[distance < -0.5].all()
    assert not found[distance > 0.5].any()
    assert mark.own.sum() == pytest.approx(square().area_at(pose), rel=0.06)


def test_a_bent_sprite_follows_the_field_and_keeps_its_area():
    straight = Pose(y=100.0, x=110.0, side=120, angle=0)
    leaning = Pose(y=100.0, x=110.0, side=120, angle=0, bend=Bend(lean=0.2))
    marks = [stamp(square(), pose, height=200, width=220) for pose in (straight, leaning)]
    whole = []
    for mark in marks:
        found = np.zeros((200, 220), dtype=bool)
        found[mark.window] = mark.own
        whole.append(found)
    # 0.2 of 120 pixels from the upper to the lower edge: each row moves by its height above the middle.
    for row in (45, 80, 100, 120, 155):
        moved = np.flatnonzero(whole[1][row]).mean() - np.flatnonzero(whole[0][row]).mean()
        assert moved == pytest.approx(-0.2 * (100 - row - 0.5), abs=1.0)
    assert whole[1].sum() == pytest.approx(whole[0].sum(), rel=0.01)
    bent = Pose(y=100.0, x=110.0, side=120, angle=30, bend=Bend(0.2, 0.08, 0.05, 0.05, 1.0))
    assert stamp(square(), bent, height=200, width=220).own.sum() == pytest.approx(whole[0].sum(), rel=0.06)


def test_a_stamp_is_cut_at_the_frame_and_none_outside():
    mark = stamp(square(), Pose(y=0, x=0, side=40, angle=0), height=64, width=64)
    assert (mark.top, mark.left) == (0, 0)
    assert mark.own.shape[0] <= 22
    assert mark.own.sum() == 400
    assert stamp(square(), Pose(y=-50, x=0, side=40, angle=0), height=64, width=64) is None


def test_recolouring_turns_the_hue_and_keeps_the_outline():
    red = square()
    assert colour_word(*red.colour()) == "red"
    assert np.ptp(red.recoloured(hue=0, saturation=0, gain=1).colour()) < 1
    turned = red.recoloured(hue=240, saturation=1, gain=1)
    assert colour_word(*turned.colour()) in ("blue", "green")
    assert turned.level(1).getchannel("A").tobytes() == red.level(1).getchannel("A").tobytes()


def test_the_pixels_of_a_segment_have_its_colours():
    """Where only the map is known, the picture can be told from it: each stuff region is nearest its own texture."""
    background = draw_background(np.random.default_rng(1), height=128, width=192, split="train")
    pixels = np.asarray(background.image).astype(float)
    for kind in np.unique(background.stuff_map):
        region = background.stuff_map == kind
        own = np.asarray(tile(int(kind), 0)).reshape(-1, 3).astype(float)
        # Tint and variant change colours, not which of red, green and blue is strongest by far.
        gap = np.ptp(own.mean(axis=0))
        if gap > 40:
            assert np.argmax(pixels[region].mean(axis=0)) == np.argmax(own.mean(axis=0))


@pytest.mark.parametrize("kind", range(len(STUFF)))
def test_textures_repeat_without_a_seam(kind):
    pixels = np.asarray(tile(kind, 3)).astype(float)
    assert pixels.shape == (TILE, TILE, 3)
    for axis in (0, 1):
        steps = np.abs(np.diff(pixels, axis=axis)).mean(axis=(1 - axis, 2))
        seam = np.abs(np.take(pixels, 0, axis) - np.take(pixels, -1, axis)).mean()
        # A joint between bricks may fall on the seam: it is one of the strongest steps, by chance the strongest.
        assert seam <= 1.1 * steps.max()


def test_captions_count_and_use_plain_words():
    rng = np.random.default_rng(0)
    dog, person = 0, 35
    sky, grass = 0, 6
    texts = {write_caption(rng, [dog, dog, person], [sky, grass])[0] for _ in range(60)}
    assert all("two dogs" in text or "two puppies" in text for text in texts)
    assert all("a person" in text or "a pedestrian" in text for text in texts)
    assert all("under the sky" in text and ("on grass" in text or "on lawn" in text) for text in texts)
    assert [plural(name) for name in ("person", "bus", "puppy", "slice of pizza", "fish")] == [
        "people",
        "buses",
        "puppies",
        "slices of pizza",
        "fish",
    ]
    assert (with_article("apple"), with_article("dog")) == ("an apple", "a dog")


@pytest.mark.parametrize("level", LEVELS)
def test_video_is_deterministic_consistent_and_moves(level):
    frames, again = (list(render_video(5, level=level, frames=30, **SIZE)) for _ in range(2))
    assert [f.rgb.tobytes() for f in frames] == [f.rgb.tobytes() for f in again]
    assert [f.id_map.tobytes() for f in frames] == [f.id_map.tobytes() for f in again]
    assert len(frames) == 30
    category = {}
    for frame in frames:
        panoptic = frame.to_panoptic("clip")  # validates map against segments
        assert [s.track for s in panoptic.segments] == [s.id for s in frame.segments]
        for segment in frame.segments:
            assert category.setdefault(segment.id, segment.category) == segment.category
    assert any(a.id_map.tobytes() != b.id_map.tobytes() for a, b in pairwise(frames))
    things = sum(c < len(THINGS) for c in category.values())
    assert things >= LEVELS[level].things[0]


def test_a_longer_video_does_not_need_its_end():
    """Frames come one at a time: the first of a long video is there at once."""
    first = next(iter(render_video(1, level="easy", frames=100_000, **SIZE)))
    assert first.index == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(4))
def test_the_camera_never_sees_past_its_world(level, seed):
    camera = Camera.draw(np.random.default_rng(seed), LEVELS[level], height=256, width=456)
    top, left, bottom, right = camera.extent(3000)
    corners = [np.array([y, x]) for y in (0.0, 256.0) for x in (0.0, 456.0)]
    seen = np.array([camera.to_world(corner, time) for time in range(0, 3000, 7) for corner in corners])
    assert ((seen >= (top, left)) & (seen <= (bottom, right))).all()
    point = np.array([10.0, 20.0])
    assert camera.to_frame(camera.to_world(point, 77), 77) == pytest.approx(point)


def test_cuts_are_flagged_and_change_the_scene():
    frames = list(render_video(2, level="hard", frames=48, **SIZE))
    cuts = [f.index for f in frames if f.cut]
    assert cuts
    for index in cuts:
        before, after = ({s.id for s in frames[i].segments if s.is_thing} for i in (index - 1, index))
        assert not before & after


def test_things_are_occluded_leave_and_come_back():
    hidden = returned = 0
    for seed in range(3):
        seen: dict[int, list[int]] = {}
        for frame in render_video(seed, level="medium", frames=96, height=64, width=112):
            for segment in frame.segments:
                if segment.is_thing:
                    seen.setdefault(segment.id, []).append(frame.index)
                    hidden += segment.visible < 0.5
        returned += sum(any(b - a > 2 for a, b in pairwise(indices)) for indices in seen.values())
    assert hidden > 0
    assert returned > 0


def test_a_written_world_reads_back_as_it_was_rendered(tmp_path):
    folder = tmp_path / "world"
    write_main(
        ["-o", str(folder), "--level", "easy", "--seed", "4", "--frames", "5", "--height", "64", "--width", "96"]
    )
    truth = read_segments(folder / "ground_truth")
    assert truth.tracked
    assert truth.vocabulary.checksum == vocabulary().checksum
    rendered = list(render_video(4, level="easy", frames=5, height=64, width=96))
    for read, made in zip(truth.frames(), rendered, strict=True):
        assert (read.track_map() == made.id_map).all()
        assert read.time == pytest.approx(made.time)
        assert [(s.track, s.category) for s in read.segments] == [(s.id, s.category) for s in made.segments]
    world = json.loads((folder / "world.json").read_text())
    assert world["rows"] == {"easy": ["easy-000004"], "seen style": ["easy-000004"]}
    assert [entry["seed"] for entry in world["videos"]] == [4]
    assert (folder / world["videos"][0]["file"]).exists()
    assert Vocabulary.build(**world["vocabulary"]).checksum == vocabulary().checksum
    assert len(world["categories"]["novel"]) == 24
    flags = json.loads((folder / "flags.json").read_text())["easy-000004"]
    assert [track["id"] for track in flags["tracks"]] == [thing.id for thing in rendered[0].things]
    assert flags["captions"][0]["frame"] == 0
    assert Vocabulary.build(files=[folder / "vocabulary.yaml"]).checksum == vocabulary().checksum
    import av

    with av.open(str(folder / "videos" / "easy-000004.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 5
    assert np.abs(decoded[2].astype(int) - rendered[2].rgb).mean() < 12


def test_art_of_ones_own_is_all_that_appears(tmp_path):
    from PIL import Image, ImageDraw

    from eval.synthetic_world.art import load_art

    for name, colour in (("dog", (250, 20, 20)), ("Motorbike", (20, 20, 250))):
        picture = Image.new("RGBA", (200, 150))
        ImageDraw.Draw(picture).ellipse((20, 10, 180, 140), fill=(*colour, 255))
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "one.png")
    art = load_art(tmp_path)
    names = {THINGS[i].names[0] for i in art}
    assert names == {"dog", "motorcycle"}
    assert all(sprite.width == CELL and sprite.height == round(CELL * 131 / 161) for (sprite,) in art.values())
    (frame,) = render_video(0, level="easy", frames=1, **SIZE, art=art)
    assert {THINGS[s.category].names[0] for s in frame.segments if s.is_thing} == names
    (tmp_path / "gryphon").mkdir()
    with pytest.raises(InputError, match="gryphon is not named after a concept"):
        load_art(tmp_path)


def test_a_world_is_not_written_over_something(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    from eval.synthetic_world.write import write_world

    with pytest.raises(InputError, match="not empty"):
        write_world(tmp_path, level="easy", seeds=[0], frames=1)
