"""The grammar of vocabularies, what they refuse, and how parts are put together."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoseg.errors import InputError
from videoseg.vocabulary import Category, Vocabulary, parse, read_yaml, spread_colour

words = st.text(st.characters(whitelist_categories=["L", "N"], whitelist_characters="-'"), min_size=1, max_size=8)
names = st.lists(words, min_size=1, max_size=3).map(" ".join)


def entries(vocabulary: Vocabulary) -> list[tuple[tuple[str, ...], bool]]:
    return [(category.names, category.is_thing) for category in vocabulary]


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", []),
            (" ; , ;; ,", []),
            ("person", [("person",)]),
            (
                "black pickup truck, pickup truck; blue sky, sky",
                [("black pickup truck", "pickup truck"), ("blue sky", "sky")],
            ),
            ("  black \t pickup\n truck ,, truck ;", [("black pickup truck", "truck")]),
            ("größe; 犬, いぬ", [("größe",), ("犬", "いぬ")]),
        ],
    )
    def test_examples(self, text: str, expected: list[tuple[str, ...]]) -> None:
        assert parse(text) == expected

    @settings(max_examples=50)
    @given(st.lists(st.lists(names, min_size=1, max_size=4), max_size=6))
    def test_what_is_written_is_read(self, categories: list[list[str]]) -> None:
        assert parse("; ".join(", ".join(synonyms) for synonyms in categories)) == [tuple(c) for c in categories]

    @settings(max_examples=50)
    @given(st.text(max_size=60))
    def test_any_text_gives_clean_names(self, text: str) -> None:
        for category in parse(text):
            assert category
            for name in category:
                assert name == " ".join(name.split()) != ""


class TestBuild:
    def test_things_come_before_stuff(self) -> None:
        vocabulary = Vocabulary.build(things="person; dog, puppy", stuff="sky")
        assert entries(vocabulary) == [(("person",), True), (("dog", "puppy"), True), (("sky",), False)]
        assert [category.name for category in vocabulary] == ["person", "dog", "sky"]
        assert len(vocabulary) == 3
        assert vocabulary[1].names == ("dog", "puppy")

    @pytest.mark.parametrize(
        ("things", "stuff", "says"),
        [
            ("", "", r"The vocabulary is empty\. Name categories, for instance --vocab"),
            (";", " , ", "The vocabulary is empty"),
            ("dog; cat; dog", "", "The category 'dog' is given twice. Give each category once."),
            ("dog; Dog", "", "The category 'Dog' is given twice"),
            ("dog, dog", "", "The category 'dog' is given twice"),
            ("dog", "dog", "The category 'dog' is given twice"),
            ("dog, pet; cat, pet", "", "The word 'pet' is given twice: for 'dog' and for 'cat'"),
            ("dog; cat, DOG", "", "The word 'DOG' is given twice: for 'dog' and for 'cat'"),
            ("grass, lawn", "lawn", "The word 'lawn' is given twice: for 'grass' and for 'lawn'"),
        ],
    )
    def test_what_is_refused(self, things: str, stuff: str, says: str) -> None:
        with pytest.raises(InputError, match=says) as caught:
            Vocabulary.build(things=things, stuff=stuff)
        assert caught.value.exit_code == 2

    def test_an_unknown_label_set(self) -> None:
        with pytest.raises(InputError, match=r"no label set 'cocoa'. The built-in ones are: coco, ade20k,"):
            Vocabulary.build(labels=["cocoa"])

    def test_own_words_win_over_label_sets(self) -> None:
        vocabulary = Vocabulary.build(things="woman, lady; robot", stuff="car", labels=["coco"])
        assert entries(vocabulary)[:3] == [(("woman", "lady"), True), (("robot",), True), (("car",), False)]
        # `person` stays, without the two words that are taken; COCO's own `car` is dropped whole.
        assert vocabulary[3].name == "person"
        assert not {"woman", "lady"} & set(vocabulary[3].names)
        assert {"man", "girl"} <= set(vocabulary[3].names)
        assert len(vocabulary) == 3 + 133 - 1
        assert [category.name for category in vocabulary].count("car") == 1

    def test_a_set_alone_is_as_published(self) -> None:
        vocabulary = Vocabulary.build(labels=["coco"])
        assert len(vocabulary) == 133
        assert sum(len(category.names) for category in vocabulary) == 254

    def test_two_sets(self) -> None:
        vocabulary = Vocabulary.build(labels=["coco", "pascal-voc"])
        shown = [category.name.casefold() for category in vocabulary]
        assert len(shown) == len(set(shown))
        assert shown[:133] == [category.name for category in Vocabulary.build(labels=["coco"])]
        assert "aeroplane" in shown  # VOC's name; COCO has `airplane` and keeps it
        assert "airplane" not in vocabulary[shown.index("aeroplane")].names

    def test_two_thousand_categories(self) -> None:
        vocabulary = Vocabulary.build(things="; ".join(f"kind {i}, sort {i}" for i in range(2000)))
        assert len(vocabulary) == 2000
        assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
        assert len({category.colour for category in vocabulary}) > 1000


class TestYaml:
    def test_both_forms_of_entries(self, tmp_path: Path) -> None:
        file = tmp_path / "words.yaml"
        file.write_text("things:\n  - person\n  - [dog, hot  dog]\n  - car, auto\nstuff: [sky]\n")
        assert read_yaml(file) == [
            (("person",), True),
            (("dog", "hot dog"), True),
            (("car", "auto"), True),
            (("sky",), False),
        ]
        vocabulary = Vocabulary.build(stuff="car", files=[file])
        assert entries(vocabulary) == [(("car",), False), *[e for e in read_yaml(file) if e[0][0] != "car"]]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "another form"),
            ("[person]", "another form"),
            ("thing: [person]", "another form"),
            ("things: person", "'things' is not a list"),
            ("things: [3]", "under 'things', 3 is not a name"),
            ("things: [[]]", r"\[\] is not a name"),
            ("things: [['']]", r"\[''\] is not a name"),
            ("stuff: [{sky: 1}]", "under 'stuff'"),
            ("things: [a, a]", r"'a' is given twice in .*words\.yaml"),
            ("things: [a", "is not YAML"),
        ],
    )
    def test_what_is_refused(self, tmp_path: Path, text: str, says: str) -> None:
        file = tmp_path / "words.yaml"
        file.write_text(text)
        with pytest.raises(InputError, match=says) as caught:
            read_yaml(file)
        assert "words.yaml" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"There is no vocabulary file .*none\.yaml"):
            read_yaml(tmp_path / "none.yaml")
        with pytest.raises(InputError, match="cannot be read: Is a directory"):
            read_yaml(tmp_path)
        (tmp_path / "bytes.yaml").write_bytes(b"things: [caf\xe9]")
        with pytest.raises(InputError, match="is not YAML"):
            read_yaml(tmp_path / "bytes.yaml")


class TestIdentity:
    @settings(max_examples=50)
    @given(st.lists(st.tuples(st.lists(names, min_size=1, max_size=3).map(tuple), st.booleans()), min_size=1))
    def test_json_round_trip(self, listed: list[tuple[tuple[str, ...], bool]]) -> None:
        vocabulary = Vocabulary.of(listed)
        assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary

    def test_the_checksum_is_of_names_and_kinds(self) -> None:
        vocabulary = Vocabulary.build(things="person; dog")
        # SHA-256 of the text [[["person"], true], [["dog"], true]]
        assert vocabulary.checksum == "1c19ce6e678630851ef33172e28c984d3ac6de2b47476bef8ca030a9a9402166"
        repainted = Vocabulary(tuple(Category(c.names, c.is_thing, (1, 2, 3)) for c in vocabulary))
        assert repainted.checksum == vocabulary.checksum
        others = ["dog; person", "person, man; dog", "person", "person; Dog"]
        sums = {Vocabulary.build(things=text).checksum for text in others}
        sums |= {Vocabulary.build(things="person", stuff="dog").checksum, vocabulary.checksum}
        assert len(sums) == 6

    def test_colours_of_neighbours_differ(self) -> None:
        colours = [spread_colour(i) for i in range(60)]
        for first, second in itertools.pairwise(colours):
            assert sum(abs(a - b) for a, b in zip(first, second, strict=True)) > 90
        assert all(0 <= part <= 255 for colour in colours for part in colour)
