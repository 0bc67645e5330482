"""The likelihood once more, written plainly in jax: an oracle for derivatives."""

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)


def oracle_abs(theta):
    t = jnp.abs(theta)
    return jnp.where(t < 1, (15 * t**2 - 10 * t**4 + 3 * t**6) / 8, t)


def oracle_square(theta):
    t = jnp.abs(theta)
    middle = 1 + 2 * (t - 1) + (t - 1) ** 2 - (t - 1) ** 3 / 3
    return jnp.where(t < 1, t**2, jnp.where(t < 2, middle, 11 / 3 + 3 * (t - 2)))


def oracle_template(process, systematic, theta):
    """Factor and shift of one template by one systematic."""
    if systematic.kind == "norm":
        return systematic.size**theta, 0.0
    n = process.nominal
    up = process.variations[f"{systematic.name}_up"]
    down = process.variations.get(f"{systematic.name}_down")
    one_sign = (n > 0).all()
    if systematic.interpolation == "lognormal" and one_sign:
        down = n**2 / up if down is None else down
        bend = oracle_abs(theta) * jnp.log(up * down / n**2) / 2
        return (up / down) ** (theta / 2) * jnp.exp(bend), 0.0
    down = 2 * n - up if down is None else down
    shift = theta * (up - down) / 2
    if systematic.interpolation == "quadratic":
        shift += oracle_square(theta) * ((up + down) / 2 - n)
    return 1.0, shift


def oracle_expected(templates, names, values):
    """Expected events of all channels, joined."""
    value = dict(zip(names, values, strict=True))
    parts = []
    for channel in templates.channels.values():
        total = 0.0
        for process in channel.processes.values():
            strength = value.get(f"{channel.name}/{process.name}", 1.0)
            factor, shift = 1.0, 0.0
            for systematic in templates.systematics:
                signal = process.role == "signal" and "W" in systematic.processes
                if not (signal or process.name in systematic.processes):
                    continue
                local = f"{channel.name}/{systematic.name}"
                theta = value.get(systematic.name, value.get(local))
                f, s = oracle_template(process, systematic, theta)
                factor, shift = factor * f, shift + s
            total += strength * (process.nominal + shift) * factor
        parts.append(total.ravel())
    return jnp.concatenate(parts)


def oracle_nll(templates, parameters, data, effective, values):
    """Poisson with profiled β and effective counts; infinite counts: no β."""
    nu = oracle_expected(templates, parameters.names, values)
    if effective is None:
        terms = nu - data * jnp.log(nu)
    else:
        beta = (data + effective) / (nu + effective)
        terms = beta * nu - data * jnp.log(beta * nu)
        terms += effective * (beta - jnp.log(beta))
    return terms.sum() + 0.5 * (parameters.precision * values**2).sum()
