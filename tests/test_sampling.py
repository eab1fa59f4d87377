"""Sampling: the cached way against its naive twin, causality, guidance, and the paper's concatenation."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from lara_core.conditioning import Conditioning, guidance_rows
from lara_core.decoder import Decoder, DecoderConfig, delay, shifted, undelay
from lara_core.sampling import FIRST_TEXT_STRENGTH, FREE, LIKELY, LONG_PAST, Sampling, Stepper, attention_of_one, choose, generate, generate_naive

K, V, L, TEXT_WIDTH = 4, 12, 5, 8


def make_decoder(delays=(0, 1, 2, 3), emotion=True, seed=0) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(DecoderConfig(K, V, width=32, n_layers=2, n_heads=4, ffn_width=64, text_width=TEXT_WIDTH, delays=delays,
                                    emotion=emotion))
    for name, weight in decoder.named_parameters():  # larger than at the start of training, so that all paths matter
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=1.0 if name.startswith("embed") else 0.25)
    return decoder.eval()


def make_cond(batch=1, frames=10, emotion=True, seed=1) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    text_mask = torch.ones(batch, L, dtype=torch.bool)
    text_mask[:, L - 1] = False
    return Conditioning(torch.randn(batch, L, TEXT_WIDTH, generator=generator), text_mask,
                        torch.rand(batch, frames, 2, generator=generator) * 2 - 1,
                        torch.full((batch, frames), emotion))


def empty_context(batch=1):
    return torch.zeros(batch, K, 0, dtype=torch.long)


def free(frames):
    return torch.full((K, frames), FREE)


def random_codes(*shape, seed=2):
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def rows(cond: Conditioning, index: list[int]) -> Conditioning:
    return Conditioning(*(getattr(cond, field.name)[index] for field in dataclasses.fields(cond)))


# ---- the cached way and its oracle

@pytest.mark.parametrize("delays", [(0, 1, 2, 3), (0, 0, 0, 0), (0, 0, 1, 1), (1, 0, 0, 2)])
@pytest.mark.parametrize("text_strength, emotion_strength", [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_cached_equals_naive(delays, text_strength, emotion_strength):
    decoder, sampling = make_decoder(delays), Sampling(text_strength=text_strength, emotion_strength=emotion_strength)
    context, forced = random_codes(2, K, 3), torch.full((2, K, 7), FREE)
    forced[0, 1] = random_codes(7)
    forced[1, :, 2] = random_codes(K)
    arguments = (decoder, make_cond(2), context, forced, sampling, [5, 6])
    codes = generate(*arguments)
    assert torch.equal(codes, generate_naive(*arguments))
    assert torch.equal(codes[0, 1], forced[0, 1]) and torch.equal(codes[1, :, 2], forced[1, :, 2])
    assert codes.shape == (2, K, 7) and 0 <= codes.min() and codes.max() < V


@pytest.mark.parametrize("has_encoder, context_frames", [(True, 0), (True, 4), (False, 0), (False, 4)])
def test_cached_equals_naive_without_emotion(has_encoder, context_frames):
    decoder, cond = make_decoder(emotion=has_encoder), make_cond(3, 10, emotion=False)
    arguments = (decoder, cond, random_codes(3, K, context_frames), free(10 - context_frames), Sampling(top_k=6), 11)
    assert torch.equal(generate(*arguments), generate_naive(*arguments))


def stepped(decoder: Decoder, cond: Conditioning, columns: torch.Tensor, prefilled: int) -> torch.Tensor:
    """Logits [B,K,S,V] of a Stepper that is given so many input columns at once and the others one by one."""
    stepper = Stepper(decoder, cond, columns.shape[2])
    logits = [stepper.prefill(columns[:, :, :prefilled])]
    logits += [stepper.step(columns[:, :, s]) for s in range(prefilled, columns.shape[2])]
    return torch.stack(logits, dim=2)


def test_stepper_gives_the_decoders_logits():
    decoder, cond, steps = make_decoder(), make_cond(2, 9), random_codes(2, K, 12)
    columns = shifted(steps, pad=V)
    with torch.no_grad():
        whole = decoder.logits(decoder.hidden(columns, decoder.memory(cond)))
    with torch.inference_mode():
        cached = stepped(decoder, cond, columns, 4)
    torch.testing.assert_close(cached, whole[:, :, 3:], atol=1e-5, rtol=1e-5)


def test_a_past_of_fewer_bits_is_nearly_the_same_past():
    decoder, cond, columns = make_decoder(), make_cond(2, 9), random_codes(2, K, 12)
    with torch.inference_mode():
        exact, decoder.past_dtype = stepped(decoder, cond, columns, 4), torch.bfloat16
        assert 0 < (stepped(decoder, cond, columns, 4) - exact).std() < 0.01 * exact.std()


@pytest.mark.parametrize("columns", [1, 40, 700])  # a short past, and one long enough for products of its own
def test_attention_of_one_query(columns):
    query, past = torch.randn(2, 4, 1, 64), torch.randn(2, 2, 4, 800, 64)[..., :columns, :]
    assert (past[0, 0].numel() >= LONG_PAST) == (columns == 700)
    attended = attention_of_one(query, *past)
    torch.testing.assert_close(attended, F.scaled_dot_product_attention(query, *past), atol=1e-5, rtol=1e-5)
    assert torch.equal(attended[1:], attention_of_one(query[1:], *past[:, 1:]))  # a row does not see how many there are


def test_positions_reach_beyond_the_table():
    decoder, cond = make_decoder(), make_cond(1, 30)
    expected = generate(decoder, cond, empty_context(), free(30), Sampling(), 0)
    decoder.positions = decoder.positions[:8]
    assert torch.equal(generate(decoder, cond, empty_context(), free(30), Sampling(), 0), expected)


# ---- what a result depends on

def test_each_codebook_takes_its_share_of_the_guidance():
    decoder, cond = make_decoder(), make_cond(2, frames=12)
    led = lambda strength, **lead: generate(decoder, cond, empty_context(2), free(12), Sampling(text_strength=3, emotion_strength=strength), 0, **lead)
    assert torch.equal(led(9, emotion_shares=[0.0] * K), led(1)) and not torch.equal(led(9), led(1))
    assert torch.equal(led(9, emotion_shares=[0.25] * K), led(3)) and torch.equal(led(9, emotion_shares=[1.0] * K), led(9))
    assert torch.equal(led(0.5, emotion_shares=[0.25] * K), led(0.5)), "what is weaker than learnt is so everywhere"
    uneven = {"text_led": [1], "emotion_shares": [1.0, *[0.25] * (K - 1)]}
    naive = generate_naive(decoder, cond, empty_context(2), free(12), Sampling(text_strength=3, emotion_strength=9), 0, **uneven)
    assert torch.equal(led(9, **uneven), naive)


def test_guidance_chooses_among_what_is_likely_where_it_is_held_to_that():
    decoder, cond = make_decoder(), make_cond(2, frames=12)
    decoder.heads.weight.data *= 20  # sure of itself
    draw = lambda strength, **lead: generate(decoder, cond, empty_context(2), free(12), Sampling(1.0, 0, 1.0, 1, strength), 0, **lead)
    assert torch.equal(draw(1, likely_only=range(K)), draw(1)), "what is not guided is as it was"
    held, wild = draw(20, likely_only=[1]), draw(20)
    for codes, within in ((held, True), (wild, False)):
        steps = delay(codes, decoder.config.delays, decoder.config.codebook_size)
        said = decoder.logits(decoder.hidden(shifted(steps, decoder.config.codebook_size), decoder.memory(cond))).float()[:, 1]
        own = said.gather(-1, steps[:, 1].clamp_max(decoder.config.codebook_size - 1)[..., None])[..., 0]
        free_of_it = (own >= said.amax(-1) + math.log(LIKELY) - 1e-4) | (steps[:, 1] >= decoder.config.codebook_size)
        assert bool(free_of_it.all()) == within
    naive = generate_naive(decoder, cond, empty_context(2), free(12), Sampling(1.0, 0, 1.0, 1, 20), 0, likely_only=[1])
    assert torch.equal(held, naive)


def test_the_text_leads_the_beginning():
    decoder, cond, everything = make_decoder(), make_cond(2, frames=12), range(K)
    begun = lambda strength, **lead: generate(decoder, cond, empty_context(2), free(12), Sampling(text_strength=strength, emotion_strength=1), 0, **lead)
    assert torch.equal(begun(1, text_led=everything), begun(FIRST_TEXT_STRENGTH)) and not torch.equal(begun(1, text_led=everything), begun(1))
    deaf, other = Sampling(text_strength=0, emotion_strength=0), Conditioning(cond.text + 1, cond.text_mask, cond.emotion, cond.emotion_mask)
    arguments = empty_context(2), free(12), deaf, 0
    assert all(torch.equal(generate(decoder, c, *arguments, text_led=everything), generate(decoder, cond, *arguments)) for c in (cond, other)), "a text that is not to count does not lead"


def test_same_seed_same_codes_other_seed_other_codes():
    decoder, cond = make_decoder(), make_cond()
    first, again, other = (generate(decoder, cond, empty_context(), free(10), Sampling(), s) for s in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_row_is_independent_of_its_batch():
    decoder, cond, context = make_decoder(), make_cond(3, 8), random_codes(3, K, 2)
    together = generate(decoder, cond, context, free(6), Sampling(), [7, 8, 9])
    for b in range(3):
        alone = generate(decoder, rows(cond, [b]), context[[b]], free(6), Sampling(), 7 + b)
        assert torch.equal(alone[0], together[b])
    assert torch.equal(generate(decoder, cond, context, free(6), Sampling(), 7), together)  # a number: seed + row


def test_a_row_without_emotion_or_text_is_independent_of_its_batch():
    decoder, cond = make_decoder(), make_cond(3, 6)
    cond.text_mask[0], cond.emotion_mask[1] = False, False
    sampling = Sampling(text_strength=3, emotion_strength=2)
    together = generate(decoder, cond, empty_context(3), free(6), sampling, 1)
    for b in range(3):
        assert torch.equal(generate(decoder, rows(cond, [b]), empty_context(), free(6), sampling, 1 + b)[0], together[b])


def test_a_later_emotion_changes_nothing_before():
    decoder, cond = make_decoder(), make_cond(1, 12)
    before = generate(decoder, cond, empty_context(), free(12), Sampling(emotion_strength=4), 0)
    cond.emotion[:, 7:] *= -1
    after = generate(decoder, cond, empty_context(), free(12), Sampling(emotion_strength=4), 0)
    for k, d in enumerate(decoder.config.delays):
        assert torch.equal(after[:, k, :7 - d], before[:, k, :7 - d])
    assert not torch.equal(after, before)


def test_a_later_forced_token_changes_nothing_before():
    decoder, cond, forced = make_decoder(), make_cond(1, 12), free(12)
    forced[2] = random_codes(12)
    before = generate(decoder, cond, empty_context(), forced, Sampling(), 0)
    forced[2, 5:] = (forced[2, 5:] + 5) % V  # codebook 2 has delay 2: read from step 8 on
    after = generate(decoder, cond, empty_context(), forced, Sampling(), 0)
    for k, d in enumerate(decoder.config.delays):
        if k != 2:
            assert torch.equal(after[:, k, :8 - d], before[:, k, :8 - d])
    assert not torch.equal(after[:, :2], before[:, :2])


def test_moving_emotion_changes_logits_from_its_frame_on():
    decoder, cond, columns = make_decoder(), make_cond(1, 9), shifted(random_codes(1, K, 12), pad=V)
    moved = Conditioning(cond.text, cond.text_mask, cond.emotion.clone(), cond.emotion_mask)
    moved.emotion[:, 4] += 0.5
    with torch.no_grad():
        change = [decoder.logits(decoder.hidden(columns, decoder.memory(c))) for c in (cond, moved)]
    change = (change[1] - change[0]).abs().amax((0, 1, 3))  # [S]
    assert (change[:4] == 0).all() and (change[4:] > 0).all()


def test_on_frame_counts_and_cancels():
    seen = []
    generate(make_decoder(), make_cond(1, 8), random_codes(1, K, 2), free(6), Sampling(), 0, on_frame=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]

    def cancel(frames_done):
        if frames_done == 3:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        generate(make_decoder(), make_cond(1, 6), empty_context(), free(6), Sampling(), 0, on_frame=cancel)


def test_everything_forced_comes_back_as_it_is():
    forced = random_codes(K, 6)
    codes = generate(make_decoder(), make_cond(1, 6), empty_context(), forced, Sampling(), 0)
    assert torch.equal(codes[0], forced)
    codes += 1  # an ordinary tensor, not one of inference mode
    codes.float().requires_grad_()


# ---- the decoder: delay, and the paper's conditioning

def test_delay_and_shift_by_hand():
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    steps = delay(codes, (0, 1), pad=9)
    assert steps.tolist() == [[[1, 2, 3, 9], [9, 4, 5, 6]]]
    assert shifted(steps, pad=9).tolist() == [[[9, 1, 2, 3], [9, 9, 4, 5]]]
    assert torch.equal(undelay(steps, (0, 1)), codes)


def paper_logits(decoder: Decoder, columns, text, emotion):
    """One row, written out plainly: cross-attention over the rows of [E_text ; E_emo], text [L,Dt], emotion one point [2]."""
    config = decoder.config
    heads, size = config.n_heads, config.width // config.n_heads
    tokens = torch.cat([decoder.text_proj(text), decoder.av_encoder(emotion[None])])  # [L+1,D]
    x = sum(embed.weight[columns[0, k]] for k, embed in enumerate(decoder.embed)) + decoder.positions[:columns.shape[2]]

    def attend(q, k, v, mask):
        outputs = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = (q[:, part] @ k[:, part].T / size ** 0.5).masked_fill(~mask, -torch.inf)
            outputs.append(scores.softmax(-1) @ v[:, part])
        return torch.cat(outputs, dim=1)

    steps = len(x)
    for block in decoder.blocks:
        q, k, v = block.qkv(block.self_norm(x)).chunk(3, dim=-1)
        x = x + block.out(attend(q, k, v, torch.ones(steps, steps, dtype=torch.bool).tril()))
        k, v = block.cross_kv(tokens).chunk(2, dim=-1)
        q = block.cross_q(block.cross_norm(x))
        x = x + block.cross_out(attend(q, k, v, torch.ones(steps, len(tokens), dtype=torch.bool)))
        x = x + block.fc2(torch.nn.functional.gelu(block.fc1(block.ffn_norm(x))))
    return decoder.heads(decoder.norm(x)).view(steps, K, V).transpose(0, 1)  # [K,S,V]


def test_constant_curve_is_the_papers_concatenation():
    decoder, cond, columns = make_decoder(), make_cond(1, 9), shifted(random_codes(1, K, 12), pad=V)
    cond.emotion[:] = torch.tensor([0.7, -0.4])
    with torch.inference_mode():
        expected = paper_logits(decoder, columns, cond.text[0, :L - 1], cond.emotion[0, 0])
        trained = decoder.logits(decoder.hidden(columns, decoder.memory(cond)))[0]
        cached = stepped(decoder, cond, columns, 1)
    torch.testing.assert_close(trained, expected, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(cached[0], expected, atol=2e-5, rtol=1e-4)


def test_masked_rows_have_zero_cross_attention_and_finite_gradients():
    decoder, cond = make_decoder(), make_cond(2, 6)
    cond.text_mask[0], cond.emotion_mask[0] = False, False
    memory, x = decoder.memory(cond), torch.randn(2, 6, 32)
    block = decoder.blocks[0]
    here = memory.steps(0, 6)
    y = block.cross_attention(x, here.layers[0], here.text_bias, here.emotion_bias)
    assert (y[0] == 0).all() and (y[1] != 0).all()
    decoder.logits(decoder.hidden(random_codes(2, K, 6), memory)).square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in decoder.parameters())

    columns = shifted(random_codes(2, K, 9), pad=V)
    with torch.inference_mode():
        cached = stepped(decoder, cond, columns, 1)
        for block in decoder.blocks:  # then the whole of cross-attention may as well not be there
            block.cross_out.weight.zero_()
        without = decoder.logits(decoder.hidden(columns, decoder.memory(cond)))
    torch.testing.assert_close(cached[0], without[0], atol=1e-5, rtol=1e-5)


def test_a_masked_text_token_does_not_exist():
    decoder, cond = make_decoder(), make_cond(1, 6)
    shorter = Conditioning(cond.text[:, :L - 1], cond.text_mask[:, :L - 1], cond.emotion, cond.emotion_mask)
    columns = random_codes(1, K, 6)
    with torch.no_grad():
        a, b = (decoder.logits(decoder.hidden(columns, decoder.memory(c))) for c in (cond, shorter))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# ---- guidance and drawing

@pytest.mark.parametrize("text, emotion, branches", [(1, 1, 1), (2, 1, 3), (1, 3, 2), (2, 2, 2), (2, 3, 3)])
def test_guidance_leaves_out_what_has_no_weight(text, emotion, branches):
    stacked, weights = guidance_rows(make_cond(2), text, emotion)
    assert len(weights) == branches and sum(weights) == pytest.approx(1) and len(stacked.text) == 2 * branches


def test_guidance_formula():
    """The stacked rows and weights against the formula, computed branch by branch."""
    decoder, cond, columns = make_decoder(), make_cond(1, 6), random_codes(1, K, 6)
    with torch.no_grad():
        nothing, text, both = (decoder.logits(decoder.hidden(columns, decoder.memory(c))) for c in
                               (cond.without_text().without_emotion(), cond.without_emotion(), cond))
        stacked, weights = guidance_rows(cond, 3.0, 2.5)
        guided = decoder.logits(decoder.hidden(columns.repeat(3, 1, 1), decoder.memory(stacked)))
    guided = sum(w * row for w, row in zip(weights, guided))
    torch.testing.assert_close(guided, (nothing + 3.0 * (text - nothing) + 2.5 * (both - text))[0], atol=1e-5, rtol=1e-4)


def gumbel(*shape):
    return -torch.empty(shape).exponential_(generator=torch.Generator().manual_seed(0)).log()


def test_draws_follow_the_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    tokens = choose(logits.expand(200_000, 4), gumbel(200_000, 4), Sampling(temperature=0.8, top_p=1.0))
    torch.testing.assert_close(tokens.bincount(minlength=4) / 200_000, (logits / 0.8).softmax(0), atol=4e-3, rtol=0)


def test_top_p_and_top_k_keep_the_most_likely():
    logits = torch.tensor([0.40, 0.05, 0.30, 0.20, 0.05]).log()
    noise = gumbel(50_000, 5)
    draw = lambda **how: choose(logits.expand(50_000, 5), noise, Sampling(**how)).bincount(minlength=5) / 50_000
    torch.testing.assert_close(draw(top_p=0.65), torch.tensor([4, 0, 3, 0, 0]) / 7, atol=1e-2, rtol=0)
    torch.testing.assert_close(draw(top_p=1.0, top_k=3), torch.tensor([4, 0, 3, 2, 0]) / 9, atol=1e-2, rtol=0)
    torch.testing.assert_close(draw(top_p=0.75, top_k=3), torch.tensor([4, 0, 3, 0, 0]) / 7, atol=1e-2, rtol=0)
    assert draw(top_k=1)[0] == 1 and draw(top_p=1e-6)[0] == 1


# ---- bad input

@pytest.mark.parametrize("how", [{"temperature": 0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_k": 2.5}, {"top_p": 0},
                                 {"top_p": 1.2}, {"text_strength": float("inf")}, {"emotion_strength": -1}])
def test_sampling_refuses(how):
    with pytest.raises(ValueError, match=f"{next(iter(how))} is .*give"):
        Sampling(**how)


@pytest.mark.parametrize("change, message", [
    ({"context": torch.zeros(1, K + 1, 2, dtype=torch.long)}, "context has shape"),
    ({"context": torch.full((1, K, 2), V)}, "context has tokens from 12"),
    ({"context": torch.full((1, K, 2), FREE)}, "context has tokens from -1"),
    ({"forced": torch.zeros(K, 6)}, "forced has type torch.float32"),
    ({"forced": torch.zeros(K, 0, dtype=torch.long), "cond": make_cond(1, 2)}, "at least one new frame"),
    ({"forced": torch.full((2, K, 6), FREE)}, "forced has shape"),
    ({"cond": make_cond(1, 6)}, "covers 6 frames; it must cover the 8"),
    ({"decoder": make_decoder(emotion=False)}, "no emotion encoder"),
    ({"seed": [1, 2]}, "2 seeds for 1 rows"),
    ({"seed": -1}, "seed is -1"),
])
def test_generate_refuses(change, message):
    arguments = {"decoder": make_decoder(), "cond": make_cond(1, 8), "context": random_codes(1, K, 2), "forced": free(6),
                 "sampling": Sampling(), "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        generate(**arguments)
