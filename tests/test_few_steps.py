"""Consistency and progressive distillation where student and teacher are known in closed form."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import gen_jax
from gen_jax import Adam, Training
from gen_jax.diffusion import process as p
from gen_jax.diffusion import times
from gen_jax.fields import images
from gen_jax.models.consistency import REFERENCE, ConsistencyConfig, average
from gen_jax.models.ddpm import DDPMConfig
from gen_jax.models.distillation import Distillation, DistillationConfig
from gen_jax.models.flow_matching import FlowMatchingConfig
from gen_jax.models.rectification import RectificationConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network, players

SHAPE = (8, 8, 1)
SPREAD, LEAST = 0.5, 0.002
TINY = ConsistencyConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1))


def exact(x, t):
    """The consistency function of N(0, SPREAD^2) data: along the flow x keeps its place in the marginal."""
    return x * (np.hypot(SPREAD, LEAST) / jnp.hypot(SPREAD, t)).reshape(-1, 1, 1, 1)


def gaussian(x, t):
    return x * (SPREAD**2 / (SPREAD**2 + t**2)).reshape(-1, 1, 1, 1)


def with_map(configuration, wanted):
    """A model whose f is ``wanted(student's params, x, t)``, by the F that makes it; its teacher is exact."""

    def apply(params, buffers, seen, label, *_, **__):
        t = jnp.exp(label / 250)
        x, beyond = seen * jnp.hypot(t, SPREAD).reshape(-1, 1, 1, 1), (t - LEAST).reshape(-1, 1, 1, 1)
        skip, out = SPREAD**2 / (beyond**2 + SPREAD**2), SPREAD * beyond / jnp.hypot(t, SPREAD).reshape(-1, 1, 1, 1)
        return (wanted(params, x, t) - skip * x) / jnp.maximum(out, 1e-9), buffers

    model = configuration.build(images(SHAPE))
    if model.teacher is not None:
        told = Network(lambda key: ({}, {}), lambda params, buffers, x, t, *_, **__: (gaussian(x, t), buffers))
        inputs = model.teacher.inputs._replace(scale=lambda _, t: jnp.ones(()), noise=lambda _, t: t)
        teacher = dataclasses.replace(model.teacher, network=told, prediction=p.X0, inputs=inputs)
        model = dataclasses.replace(model, teacher=teacher)
    return dataclasses.replace(model, network=Network(lambda key: (jnp.zeros(()), {}), apply))


def test_at_the_least_noise_the_map_is_the_identity():
    model = TINY.build(images(SHAPE))
    params, buffers = jax.jit(lambda: model.init(jax.random.key(0), {}))()
    params = jax.tree.map(lambda a: a + 1.0, params)
    x = jax.random.normal(jax.random.key(1), (3, *SHAPE))
    got = jax.jit(model.map)(params, buffers, x, jnp.array([LEAST, LEAST, 1.0]))
    np.testing.assert_array_equal(got[:2], x[:2])
    assert jnp.abs(got[2] - x[2]).max() > 0.1


def test_noises_are_neighbours_on_edms_grid_and_follow_their_law():
    model = dataclasses.replace(TINY, first_intervals=17).build(images(SHAPE))
    u = (jnp.arange(200_000) + 0.5) / 200_000
    t, s = (np.asarray(a) for a in jax.jit(model.neighbours)(u, 0))
    grid = times.karras(80.0, 0.002, 17, data=None)[::-1]
    index = np.searchsorted(grid, t * 0.999)
    np.testing.assert_allclose(t, grid[index], rtol=1e-4)
    np.testing.assert_allclose(s, grid[index - 1], rtol=1e-4)
    edges = stats.norm(-1.1, 2.0).cdf(np.log(grid))
    np.testing.assert_allclose(np.bincount(index, minlength=18)[1:] / 200_000, np.diff(edges) / (edges[-1] - edges[0]),
                               atol=1e-4)  # fmt: skip


def test_intervals_double():
    model = REFERENCE.build(images((32, 32, 3)))
    got = [int(model.interval_count(step)) for step in (0, 49_999, 50_000, 349_999, 350_000, 10**6)]
    assert got == [10, 10, 20, 640, 1280, 1280]


def averaged(model, theta, n=20, batch=64):
    """Loss and its gradient in the student, over many noises."""
    x = SPREAD * jax.random.normal(jax.random.key(2), (batch, *SHAPE))
    buffers = {"student": {}, "teacher": {}}

    def loss(theta, key):
        params = {"student": theta, "teacher": {}}
        return model.loss(params, buffers, {"image": x}, key, step=0, ema=None)[0]

    run = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))
    value, gradient = run(jnp.asarray(theta), jax.random.split(jax.random.key(3), n))
    return float(value.mean()), float(gradient.mean())


def bent(theta, x, t):
    return exact(x, t) * (1 + theta * ((t - LEAST) / (1 + t)).reshape(-1, 1, 1, 1))


@pytest.mark.slow
def test_the_exact_map_is_a_fixed_point_of_distillation():
    losses = []
    for intervals in (10, 40, 160):
        configuration = dataclasses.replace(
            TINY, task="distillation", first_intervals=intervals, last_intervals=intervals
        )
        model = with_map(configuration, bent)
        assert players(model.turns) == ("student",)
        losses.append(averaged(model, 0.0)[0] / averaged(model, 0.3)[0])
    assert losses[0] > losses[1] > losses[2] and losses[2] < 0.01


@pytest.mark.slow
def test_the_exact_map_is_a_fixed_point_of_training_in_small_steps():
    """One noise on both sides: the flow is followed in expectation, to first order in the step."""
    gradients = {}
    for intervals in (20, 320):
        model = with_map(dataclasses.replace(TINY, first_intervals=intervals, last_intervals=intervals), bent)
        gradients[intervals] = [averaged(model, theta)[1] for theta in (-0.3, 0.0, 0.3)]
    below, at, above = gradients[320]
    assert below < 0 < above
    assert abs(at) < 0.1 * min(-below, above)


def test_one_step_and_several_reach_the_law_of_the_data():
    for later in ((), (0.8,), (5.0, 0.5)):
        model = with_map(dataclasses.replace(TINY, later_noises=later), lambda theta, x, t: exact(x, t))
        x = jax.jit(model.sample, static_argnums=3)({"student": {}}, {"student": {}}, jax.random.key(0), 200)
        assert model.network_evaluations == 1 + len(later)
        x = np.asarray(x).ravel()
        inside = x[np.abs(x) < 0.999]  # samples are clipped
        assert stats.kstest(inside, stats.truncnorm(-2, 2, scale=SPREAD).cdf).statistic < 0.03


def test_whom_the_student_agrees_with():
    model = with_map(dataclasses.replace(TINY, target="average"), bent)
    assert model.target is average
    batch = {"image": SPREAD * jax.random.normal(jax.random.key(2), (16, *SHAPE))}
    loss = lambda own, ema: model.loss(  # noqa: E731
        {"student": own}, {"student": {}}, batch, jax.random.key(0), step=0,
        ema={"params": {"student": ema}, "buffers": {"student": {}}},
    )[0]  # fmt: skip
    assert float(loss(jnp.array(0.0), jnp.array(0.0))) != float(loss(jnp.array(0.0), jnp.array(0.5)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"least_noise": 0.0}, "least_noise"),
        ({"first_intervals": 0}, "intervals"),
        ({"later_noises": (90.0,)}, "later"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change).build(images(SHAPE))


TEACHER = DDPMConfig(
    net=Denoiser(channels=4, multipliers=(1,), blocks=1),
    timesteps=64,
    sampling_steps=8,
    prediction="x0",
    schedule="cosine",
)


def distillation():
    """A teacher who knows N(0, SPREAD^2) data, and a table of what the student should say at its times."""
    teacher = dataclasses.replace(TEACHER.build(images(SHAPE)), limit=float("inf"))
    alpha, sigma = (
        np.asarray(f(jnp.arange(-1, 64)), np.float64) for f in (teacher.process.alpha, teacher.process.sigma)
    )
    known = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
    wanted, visited = np.array(known), teacher.times + 1
    for t, m, s in zip(visited[:-2:2], visited[1:-1:2], visited[2::2]):
        step = lambda a, b: alpha[b] * known[a] + sigma[b] * (1 - alpha[a] * known[a]) / sigma[a]  # noqa: E731
        wanted[t] = (step(t, m) * step(m, s) - sigma[s] / sigma[t]) / (alpha[s] - sigma[s] / sigma[t] * alpha[t])

    def apply(params, buffers, x, t, *_, **__):
        return params[jnp.round(t * 64 / 1000).astype(int) + 1].reshape(-1, 1, 1, 1) * x, buffers

    net = Network(lambda key: (jnp.asarray(known, jnp.float32), {}), apply)
    model = Distillation(dataclasses.replace(teacher, network=net))
    params, buffers = model.init(jax.random.key(0), {})
    return model, params, buffers, jnp.asarray(wanted, jnp.float32)


def test_the_student_who_goes_two_steps_in_one_has_no_loss():
    model, params, buffers, wanted = distillation()
    assert players(model.turns) == ("student",) and model.network_evaluations == 4
    batch = {"image": SPREAD * jax.random.normal(jax.random.key(1), (32, *SHAPE))}
    loss = jax.jit(
        lambda own: model.loss({**params, "student": own}, buffers, batch, jax.random.key(2), step=0, ema=None)[0]
    )
    assert loss(wanted) < 1e-6 < 1e-2 * loss(params["student"])
    taught = {**params, "student": wanted}
    x = jax.jit(model.sample, static_argnums=3)(taught, buffers, jax.random.key(3), 4)
    y = jax.jit(model.teacher.sample, static_argnums=3)(
        {"denoiser": params["teacher"]}, {"denoiser": {}}, jax.random.key(3), 4
    )
    np.testing.assert_allclose(x, y, atol=1e-4)
    again = jax.jit(model.student.sample, static_argnums=3)(*model.learned(taught, buffers), jax.random.key(3), 4)
    np.testing.assert_allclose(again, x, atol=1e-6)


def test_its_configuration_is_plain_data():
    configuration = DistillationConfig(TEACHER)
    assert DistillationConfig(**json.loads(json.dumps(dataclasses.asdict(configuration)))) == configuration
    assert configuration.build(images(SHAPE)).network_evaluations == 4
    with pytest.raises(ValueError, match="even number"):
        DistillationConfig(dataclasses.replace(TEACHER, sampling_steps=7)).build(images(SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["consistency", "progressive", "rectification"])
def test_a_trained_run_becomes_a_teacher(kind):
    """The student begins as the teacher, who ends as it began, bit for bit."""
    examples = np.random.default_rng(0).integers(0, 256, (32, *SHAPE), dtype=np.uint8)
    training = Training(steps=2, batch_size=8)
    flow = FlowMatchingConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1), sampling_steps=2)
    consistent = dataclasses.replace(TINY, task="distillation")
    teacher, configuration = {
        "consistency": (consistent.teacher(), consistent),
        "progressive": (TEACHER, DistillationConfig(TEACHER)),
        "rectification": (flow, RectificationConfig(flow)),
    }[kind]
    run = gen_jax.fit(teacher, examples, training=training, quiet=True)
    begin = {"student": run, "teacher": run}
    still = {"student": Adam(learning_rate=0.0)}
    none = gen_jax.fit(configuration, examples, training=training, optimizers=still, begin=begin, quiet=True)
    jax.tree.map(np.testing.assert_array_equal, none.params["student"], run.params["denoiser"])
    done = gen_jax.fit(configuration, examples, training=training, begin=begin, quiet=True)
    jax.tree.map(np.testing.assert_array_equal, done.params["teacher"], run.params["denoiser"])
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), done.params["student"], run.params["denoiser"])
    assert max(jax.tree.leaves(moved)) > 0
    assert done.sample(0, 2).shape == (2, *SHAPE)


def test_a_teacher_of_other_networks_is_refused():
    examples, training = np.zeros((8, *SHAPE), np.uint8), Training(steps=1, batch_size=8)
    narrow, wide = (
        dataclasses.replace(TEACHER, net=Denoiser("mlp", channels=channels, multipliers=(1,), blocks=1))
        for channels in (4, 8)
    )
    run = gen_jax.fit(narrow, examples, training=training, quiet=True)
    with pytest.raises(gen_jax.ConfigError, match=r"student\.\S+ is (of shape|in what it should begin with)"):
        gen_jax.fit(
            DistillationConfig(wide), examples, training=training, begin={"student": run, "teacher": run}, quiet=True
        )
    with pytest.raises(gen_jax.ConfigError, match="players of this model, denoiser, to begin, got 'student'"):
        gen_jax.fit(narrow, examples, training=training, begin={"student": run}, quiet=True)
