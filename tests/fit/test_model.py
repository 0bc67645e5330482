from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import SYSTEMATICS, build_set, single_set
from tests.fit.oracle import oracle_expected
from wprops.channels import Process
from wprops.errors import TemplateError
from wprops.fit.model import build_model, observed


def changed(templates, channel, **changes):
    new = replace(templates.channels[channel], **changes)
    return replace(templates, channels={**templates.channels, channel: new})


def changed_process(templates, name, **changes):
    processes = dict(templates.channels["Wplus"].processes)
    processes[name] = replace(processes[name], **changes)
    return changed(templates, "Wplus", processes=processes)


def test_parameters_are_strengths_then_nuisances(model):
    parameters = model.parameters
    assert parameters.n_poi == 12
    assert parameters.names[0] == "Wplus/W_UL_y0_qt0"
    assert parameters.names[12:] == (
        "mw",
        "pdf_01",
        "alphas",
        "Wplus/muon_scale",
        "Wminus/muon_scale",
        "top_xsec",
        "lumi",
    )
    assert parameters.precision[parameters.index("mw")] == 0
    assert parameters.precision[12:].sum() == 6


def test_signed_templates_are_linear_on_record_and_empty_systematics_named(model):
    assert ("Wplus", "W_A4_y0_qt1", "alphas") in model.linearised
    assert not [row for row in model.linearised if "UL" in row[1]]
    assert {row[2] for row in model.linearised} == {"pdf_01", "alphas"}
    assert model.inactive == ("z_xsec",)


def test_nominal_parameters_give_the_sum_of_templates(template_set, model):
    total = [c.total()[0].ravel() for c in template_set.channels.values()]
    variance = [c.total()[1].ravel() for c in template_set.channels.values()]
    start = model.parameters.start
    assert_allclose(model.expected(start), np.concatenate(total), rtol=1e-14)
    assert_allclose(model.variance(start), np.concatenate(variance), rtol=1e-14)


def test_expectation_agrees_with_the_plain_form(template_set, model, somewhere):
    plain = oracle_expected(template_set, model.parameters.names, somewhere)
    assert_allclose(model.expected(somewhere), plain, rtol=1e-13)


def test_variance_counts_shared_events_with_their_strengths(template_set, model):
    values = model.parameters.start.copy()
    values[:3] = 0.5, -2.0, 3.0
    channel = template_set.channels["Wplus"]
    s = np.array([0.5, -2.0, 3.0])
    expected = np.einsum("p,q,pqij->ij", s, s, channel.shared[0].products)
    expected += channel.shared[1].products.sum(axis=(0, 1))
    expected += channel.processes["top"].variance + channel.processes["qcd"].variance
    got = model.split(model.variance(values))["Wplus"]
    assert_allclose(got, expected, rtol=1e-13)


def test_jacobian_is_the_slope_of_the_expectation(model, somewhere):
    jacobian = model.at(somewhere).jacobian()
    for k in range(len(somewhere)):
        step = np.zeros_like(somewhere)
        step[k] = 1e-5
        slope = model.expected(somewhere + step) - model.expected(somewhere - step)
        # truncation 1e-10 relative, rounding 1e-16/1e-5 of about 3000 events
        assert_allclose(jacobian[k], slope / 2e-5, rtol=1e-7, atol=1e-6)


def test_contracted_second_derivatives_are_slopes_of_the_jacobian(model, somewhere):
    weight = np.random.default_rng(0).normal(size=model.n_bins)
    second = model.at(somewhere).second(weight)
    for k in range(len(somewhere)):
        step = np.zeros_like(somewhere)
        step[k] = 1e-5
        slope = (
            model.at(somewhere + step).jacobian()
            - model.at(somewhere - step).jacobian()
        ) @ weight
        # sums of 100 bins of up to 3000 events: rounding 1e-10/1e-5
        assert_allclose(second[k], slope / 2e-5, rtol=1e-6, atol=1e-4)


def test_one_channel_can_be_fitted_alone(template_set, model):
    alone = build_model(template_set, channels=["Wminus"])
    assert alone.parameters.n_poi == 6
    assert "Wplus/muon_scale" not in alone.parameters.names
    both = model.split(model.expected(model.parameters.start))["Wminus"]
    assert_allclose(alone.expected(alone.parameters.start), both.ravel(), rtol=1e-15)


def test_a_missing_variation_is_named(template_set):
    broken = changed_process(template_set, "W_A0_y0_qt1", variations={})
    message = "'Wplus', process 'W_A0_y0_qt1' lacks mw_up, mw_down, declared by"
    with pytest.raises(TemplateError, match=message):
        build_model(broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nominal": np.ones((6, 7))}, "'top', nominal has shape"),
        ({"nominal": np.full((6, 8), np.nan)}, "'top', nominal has 48 bins"),
        ({"nominal": np.zeros((6, 8))}, "'top' is empty"),
        ({"variance": -np.ones((6, 8))}, "'top', variance has 48 bins"),
    ],
)
def test_broken_templates_are_named(template_set, changes, message):
    with pytest.raises(TemplateError, match=message):
        build_model(changed_process(template_set, "top", **changes))


def test_negative_data_are_refused(template_set):
    data = np.ones((6, 8))
    data[1, 2] = -1.0
    broken = changed(template_set, "Wplus", data=data)
    with pytest.raises(TemplateError, match=r"data has 1 bins .* negative.*\(1, 2\)"):
        build_model(broken)


def test_missing_data_are_refused(template_set, model):
    with pytest.raises(TemplateError, match="'Wminus' has no data; process"):
        observed(changed(template_set, "Wminus", data=None), model)


def test_two_parameters_of_one_name_are_refused(template_set):
    twice = replace(template_set, systematics=SYSTEMATICS + SYSTEMATICS[-2:-1])
    with pytest.raises(TemplateError, match="not unique: lumi"):
        build_model(twice)


def test_a_strength_without_sensitivity_is_refused(template_set):
    process = template_set.channels["Wplus"].processes["W_A4_y0_qt0"]
    tiny = {k: v * 1e-8 for k, v in process.variations.items()}
    shared = template_set.channels["Wplus"].shared
    products = shared[0].products.copy()
    products[2] *= 1e-8
    products[:, 2] *= 1e-8
    processes = dict(template_set.channels["Wplus"].processes)
    processes["W_A4_y0_qt0"] = replace(
        process,
        nominal=process.nominal * 1e-8,
        variance=products[2, 2],
        variations=tiny,
    )
    broken = changed(
        template_set,
        "Wplus",
        processes=processes,
        shared=(replace(shared[0], products=products), shared[1]),
    )
    with pytest.raises(TemplateError, match="no sensitivity to 'Wplus/W_A4_y0_qt0'"):
        build_model(broken)


def test_a_free_nuisance_without_effect_is_refused():
    ones = np.ones((1, 4))
    flat = Process("top", "background", ones, ones, {"mw_up": ones, "mw_down": ones})
    free = replace(SYSTEMATICS[0], processes=frozenset({"top"}))
    with pytest.raises(TemplateError, match="no sensitivity to 'mw'"):
        build_model(single_set({"top": flat}, systematics=(free,)))


def test_an_unknown_channel_or_parameter_is_named(template_set, model):
    with pytest.raises(TemplateError, match="no channel 'Wzero'"):
        build_model(template_set, channels=["Wzero"])
    with pytest.raises(TemplateError, match="no parameter 'mz'"):
        model.parameters.index("mz")


def test_the_order_of_the_processes_does_not_matter(model):
    templates = build_set()
    backwards = {
        name: replace(
            channel,
            processes=dict(reversed(channel.processes.items())),
            shared=channel.shared[::-1],
        )
        for name, channel in templates.channels.items()
    }
    other = build_model(replace(templates, channels=backwards))
    values = np.linspace(0.8, 1.2, len(model.parameters))
    order = [model.parameters.index(name) for name in other.parameters.names]
    assert_allclose(other.expected(values[order]), model.expected(values), rtol=1e-13)
    assert_allclose(other.variance(values[order]), model.variance(values), rtol=1e-13)


def eta_local(templates):
    """The same set with alphaS as if each eta bin and charge had its own."""
    systematics = tuple(
        replace(s, name="sf", eta_local=True, charge_correlated=False, group="sf")
        if s.name == "alphas"
        else s
        for s in templates.systematics
    )
    channels = {
        name: replace(
            channel,
            processes={
                key: replace(
                    process,
                    variations={
                        label.replace("alphas", "sf"): values
                        for label, values in process.variations.items()
                    },
                )
                for key, process in channel.processes.items()
            },
        )
        for name, channel in templates.channels.items()
    }
    return replace(templates, systematics=systematics, channels=channels)


def test_an_eta_local_systematic_has_a_parameter_per_eta_bin(template_set):
    local = build_model(eta_local(template_set))
    names = [name for name in local.parameters.names if "sf" in name]
    n_eta = template_set.channels["Wplus"].shape[0]
    assert names == [
        f"{channel}/sf_eta{row:02d}"
        for channel in template_set.channels
        for row in range(n_eta)
    ]
    start = local.parameters.start
    for name in names:
        moved = start.copy()
        moved[local.parameters.index(name)] = 1.0
        change = local.split(local.expected(moved) - local.expected(start))
        channel, _, row = name.partition("/sf_eta")
        rows = {key: np.flatnonzero(v.any(axis=1)) for key, v in change.items()}
        assert rows.pop(channel).tolist() == [int(row)]
        assert all(not len(found) for found in rows.values())


def test_eta_local_parameters_together_are_the_whole_variation(template_set, model):
    local = build_model(eta_local(template_set))
    start, moved = model.parameters.start, local.parameters.start.copy()
    together = start.copy()
    together[model.parameters.index("alphas")] = 0.7
    for index, name in enumerate(local.parameters.names):
        if "sf_eta" in name:
            moved[index] = 0.7
    assert_allclose(local.expected(moved), model.expected(together), rtol=1e-13)


def interpolated(templates, name, **kinds):
    systematics = tuple(
        replace(s, interpolation_of=kinds) if s.name == name else s
        for s in templates.systematics
    )
    return replace(templates, systematics=systematics)


@pytest.mark.parametrize(
    ("kinds", "used"),
    [
        ({"W": "quadratic"}, ("quadratic", "quadratic")),
        ({"W_A4_y0_qt1": "quadratic"}, ("lognormal", "quadratic")),
        ({"W": "quadratic", "W_A4_y0_qt1": "linear"}, ("quadratic", "linear")),
    ],
)
def test_a_process_has_the_interpolation_declared_for_it(template_set, kinds, used):
    model = build_model(interpolated(template_set, "alphas", **kinds))
    values = model.parameters.start.copy()
    values[model.parameters.index("alphas")] = -1.0
    yields = model.at(values).yields()["Wplus"]
    names = model.blocks[0].processes
    processes = template_set.channels["Wplus"].processes
    for name, kind in zip(("W_UL_y0_qt1", "W_A4_y0_qt1"), used, strict=True):
        process = processes[name]
        up, down = process.variations["alphas_up"], process.variations["alphas_down"]
        # both others meet the template at −1, the linear one the odd part of it
        linear = process.nominal - (up - down) / 2
        expected = linear if kind == "linear" else down
        assert_allclose(yields[names.index(name)], expected, rtol=1e-6, atol=1e-5)
    linearised = {row[1] for row in model.linearised if row[2] == "alphas"}
    assert ("W_A4_y0_qt1" in linearised) == (used[1] == "lognormal")


def test_a_logarithm_asked_for_by_name_has_to_exist(template_set):
    broken = interpolated(template_set, "alphas", W_A4_y0_qt1="lognormal")
    message = "process 'W_A4_y0_qt1': systematic 'alphas' asks for log-normal"
    with pytest.raises(TemplateError, match=message):
        build_model(broken)


def test_an_interpolation_of_an_unaffected_process_is_refused(template_set):
    broken = interpolated(template_set, "alphas", qcd="linear")
    with pytest.raises(TemplateError, match="'alphas' has an interpolation for qcd"):
        build_model(broken)
