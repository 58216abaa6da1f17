"""The demonstration's text and its baseline."""

from __future__ import annotations

import numpy as np

from recc.demo import corpus, ngram


def test_held_out_text_does_not_stand_in_the_training_text() -> None:
    text = corpus.load()
    assert len(text.train) > 250_000 and len(text.held_out) > 20_000
    train, held_out = text.train.tobytes().decode(), text.held_out.tobytes().decode()
    known = {" ".join(p.split()) for p in train.replace("\0", "\n\n").split("\n\n")}
    seen = [p for p in corpus.paragraphs(held_out.replace("\0", "\n\n")) if len(" ".join(p.split())) >= 40]
    assert seen and not [p for p in seen if " ".join(p.split()) in known]
    assert held_out.count("\0") == text.documents[1] and train.count("\0") == text.documents[0]
    again = corpus.load()
    assert np.array_equal(text.train, again.train)


def test_probabilities_sum_to_one_even_for_contexts_never_seen() -> None:
    text = np.frombuffer(b"abracadabra, abracadabra", np.uint8)
    for order in (0, 1, 2, 3):
        model = ngram.fit(text, order)
        contexts = np.array([0, 97 * 256 + 98, 256**order - 1]) % 256**order
        p = model.probabilities(contexts)
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
        assert p.min() > 0 or order == 0


def test_counts_by_hand() -> None:
    """With all discounts zero an order-1 model is the relative frequency of each successor."""
    text = np.frombuffer(b"aabab", np.uint8)
    model = ngram.fit(text, 1, [(0.0, 0.0, 0.0)] * 2)
    p = model.probabilities(np.array([97, 98]))
    np.testing.assert_allclose(p[0, [97, 98]], [1 / 3, 2 / 3])
    np.testing.assert_allclose(p[1, [97, 98]], [1, 0])


def test_one_discount_by_hand() -> None:
    """Half a count is taken from each successor of `a` and handed to the model of one order less."""
    text = np.frombuffer(b"abacabac", np.uint8)
    model = ngram.fit(text, 1, [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)])
    # a is followed by b twice and by c twice; before a stand b and c, before b and c stands a: 1/2, 1/4, 1/4.
    p = model.probabilities(np.array([97]))[0]
    np.testing.assert_allclose(p[[97, 98, 99]], [0.25 * 0.5, 1.5 / 4 + 0.25 * 0.25, 1.5 / 4 + 0.25 * 0.25])


def test_tuning_helps_and_longer_contexts_help() -> None:
    text = corpus.load()
    tuned = [ngram.fit_tuned(text.train, order).bits_per_byte(text.held_out) for order in (1, 2)]
    plain = ngram.fit(text.train, 2).bits_per_byte(text.held_out)
    assert tuned[1] < tuned[0] and tuned[1] < plain + 0.002
    assert 2.2 < tuned[1] < 3.2
