// The physics of rdataframe.C: selection, leptons, decay angles, components, weights.
//
// Collins-Soper angles (J. Collins and D. Soper, Phys. Rev. D 16 (1977) 2219) without
// inverse functions, for one event at a time.

#pragma once

#include <ROOT/RVec.hxx>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int n_components = 6, n_replicas = 100, n_directions = 60;
// Nominal, mass, PDF directions, alphaS, efficiency (3 + 1), prefiring.
constexpr int n_variations = 1 + 2 + n_directions + 2 + 2 * 4 + 2;
constexpr int n_factors = 5; // columns of the efficiency table

using Floats = ROOT::RVec<float>;
using Ints = ROOT::RVec<int>;
using Bools = ROOT::RVec<bool>;
using Numbers = std::vector<double>;

/// Edges and tables, by the names that bench_rdataframe.py gives them.
std::map<std::string, Numbers> read_tables(const char *path) {
  std::ifstream file(path);
  std::map<std::string, Numbers> tables;
  std::string name;
  std::size_t size;
  while (file >> name >> size) {
    Numbers &values = tables[name];
    values.resize(size);
    for (double &value : values)
      file >> value;
  }
  if (!file.eof() || tables.empty())
    throw std::runtime_error(std::string("not a file of tables: ") + path);
  return tables;
}

/// Half-open bin of a value, -1 outside.
int bin_of(const Numbers &edges, double value) {
  const auto above = std::upper_bound(edges.begin(), edges.end(), value);
  const bool inside = above != edges.begin() && above != edges.end();
  return inside ? int(above - edges.begin()) - 1 : -1;
}

/// Half-open bin of a value, the nearest one outside.
int nearest_bin(const Numbers &edges, double value) {
  const auto above = std::upper_bound(edges.begin() + 1, edges.end() - 1, value);
  return int(above - edges.begin()) - 1;
}

struct Muon {
  double pt = 0.0, eta = 0.0, phi = 0.0;
  int charge = 0;
  bool found = false;
};

/// The one isolated muon of an event without a second loose one.
Muon pick_muon(const Floats &pt, const Floats &eta, const Floats &phi,
               const Ints &charge, const Floats &dxy, const Floats &dz,
               const Floats &isolation, const Bools &medium, const Bools &is_pf) {
  int n_loose = 0, n_isolated = 0;
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < pt.size(); ++i) {
    const bool fiducial = std::abs(eta[i]) < 2.4f && std::abs(dxy[i]) < 0.05f &&
                          std::abs(dz[i]) < 0.2f && pt[i] > 10.0f;
    n_loose += fiducial && is_pf[i] && isolation[i] < 0.25f;
    if (fiducial && medium[i] && pt[i] > 20.0f && isolation[i] <= 0.15f) {
      ++n_isolated;
      chosen = i;
    }
  }
  Muon muon;
  if (n_isolated != 1 || n_loose > 1)
    return muon;
  muon = {pt[chosen], eta[chosen], phi[chosen], charge[chosen], true};
  muon.found = muon.pt >= 25.0 && muon.pt < 55.0 && muon.eta >= -2.4 && muon.eta < 2.4;
  return muon;
}

bool has_no_electron(const Floats &pt, const Floats &eta, const Floats &delta,
                     const Floats &dxy, const Floats &dz, const Ints &identity,
                     const Floats &isolation) {
  for (std::size_t i = 0; i < pt.size(); ++i) {
    const bool barrel = std::abs(eta[i] + delta[i]) <= 1.479f;
    if (pt[i] > 10.0f && identity[i] >= 1 && isolation[i] < 0.30f &&
        std::abs(dxy[i]) < (barrel ? 0.05f : 0.10f) &&
        std::abs(dz[i]) < (barrel ? 0.1f : 0.2f))
      return false;
  }
  return true;
}

/// Bits of GenPart_statusFlags.
constexpr int from_hard_process = 8, last_copy = 13, last_copy_before_fsr = 14;

int before_radiation(int i, const Ints &id, const Ints &mother, const Ints &flags) {
  while (!(flags[i] >> last_copy_before_fsr & 1)) {
    const int above = mother[i];
    if (above < 0 || id[above] != id[i])
      break;
    i = above;
  }
  return i;
}

/// Index of the charged lepton and of the neutrino of the W; its charge, or 0.
int pick_leptons(const Ints &id, const Ints &mother, const Ints &flags, int &lepton,
                 int &other) {
  int first = -1, second = -1, n = 0;
  for (int i = 0; i < int(id.size()); ++i) {
    const bool hard = flags[i] >> from_hard_process & 1 && flags[i] >> last_copy & 1;
    if (hard && std::abs(id[i]) >= 11 && std::abs(id[i]) <= 16) {
      first = second;
      second = i;
      ++n;
    }
  }
  if (n != 2)
    return 0;
  if (id[second] % 2 != 0)
    std::swap(first, second);
  const int a = id[first], b = id[second];
  if (a % 2 == 0 || a * b > 0 || std::abs(b) != std::abs(a) + 1)
    return 0;
  lepton = before_radiation(first, id, mother, flags);
  other = before_radiation(second, id, mother, flags);
  return a > 0 ? -1 : 1;
}

struct Decay {
  double qt, absy, mass, costheta, cos_phi, sin_phi;
};

Decay decay_of(double pt1, double eta1, double phi1, double pt2, double eta2,
               double phi2) {
  const double x1 = pt1 * std::cos(phi1), y1 = pt1 * std::sin(phi1);
  const double x2 = pt2 * std::cos(phi2), y2 = pt2 * std::sin(phi2);
  const double up1 = std::exp(eta1), up2 = std::exp(eta2);
  const double plus1 = pt1 * up1, minus1 = pt1 / up1;
  const double plus2 = pt2 * up2, minus2 = pt2 / up2;
  const double qx = x1 + x2, qy = y1 + y2, qt = std::sqrt(qx * qx + qy * qy);
  const double half_eta = std::sinh(0.5 * (eta1 - eta2));
  const double half_phi = std::sin(0.5 * (phi1 - phi2));
  const double m2 = 4.0 * pt1 * pt2 * (half_eta * half_eta + half_phi * half_phi);
  const double mass = std::sqrt(m2), transverse = std::sqrt(m2 + qt * qt);
  const double y = 0.5 * std::log((plus1 + plus2) / (minus1 + minus2));
  const double sign = y >= 0.0 ? 1.0 : -1.0;
  const double ux = qx / qt, uy = qy / qt, dx = x1 - x2, dy = y1 - y2;
  const double along = mass * (dx * ux + dy * uy);
  const double across = transverse * sign * (dy * ux - dx * uy);
  const double length = std::sqrt(along * along + across * across);
  const double cosine = sign * (plus1 * minus2 - minus1 * plus2) / (mass * transverse);
  return {qt,   std::abs(y),    mass, std::min(1.0, std::max(-1.0, cosine)),
          along / length, across / length};
}

/// Angular coefficients of the toy, and the weights of UL and A0 ... A4.
class Components {
public:
  explicit Components(const Numbers &truth) : t(truth) {}

  void operator()(const Decay &d, double weight, double *out) const {
    enum { reference, a0, a1, a1_slope, a2_dip, a3, a3_slope, a4, a4_slope, a4_power,
           a_odd };
    const double x = d.qt / t[reference], x2 = x * x, y = d.absy;
    const double A0 = t[a0] * x2 / (1.0 + t[a0] * x2);
    const double A1 = t[a1] * x / (1.0 + x2) * std::tanh(t[a1_slope] * y);
    const double A2 = A0 * (1.0 - t[a2_dip] * x2 / (1.0 + x2));
    const double A3 = t[a3] * x / (1.0 + x2) / (1.0 + t[a3_slope] * y * y);
    const double A4 =
        t[a4] * std::tanh(t[a4_slope] * y) * std::pow(1.0 + x2, -t[a4_power]);
    const double odd = t[a_odd] * x2;
    const double c = d.costheta, c2 = c * c, s2 = std::max(1.0 - c2, 0.0);
    const double s = std::sqrt(s2), cos = d.cos_phi, sin = d.sin_phi;
    out[0] = 1.0 + c2;
    out[1] = A0 * 0.5 * (1.0 - 3.0 * c2);
    out[2] = A1 * 2.0 * s * c * cos;
    out[3] = A2 * 0.5 * s2 * (cos * cos - sin * sin);
    out[4] = A3 * s * cos;
    out[5] = A4 * c;
    double density = odd * (2.0 * s2 * sin * cos + 2.0 * s * c * sin + s * sin);
    for (int k = 0; k < n_components; ++k)
      density += out[k];
    for (int k = 0; k < n_components; ++k)
      out[k] *= weight / density;
  }

private:
  Numbers t;
};

/// Ratio of two normalised Breit-Wigner shapes of one width.
class MassWeight {
public:
  MassWeight(const Numbers &pole, double step)
      : low(pole[2]), high(pole[3]), old_m2(square(pole[0])),
        new_m2(square(pole[0] + step)), old_scale(pole[0] * pole[1]),
        new_scale((pole[0] + step) * pole[1]) {
    ratio = new_scale / old_scale * angle(old_m2, old_scale) / angle(new_m2, new_scale);
  }

  double operator()(double mass) const {
    const double m2 = square(std::min(high, std::max(low, mass)));
    return ratio * (square(m2 - old_m2) + square(old_scale)) /
           (square(m2 - new_m2) + square(new_scale));
  }

private:
  static double square(double x) { return x * x; }
  double angle(double m2, double scale) const {
    return std::atan((high * high - m2) / scale) - std::atan((low * low - m2) / scale);
  }
  double low, high, old_m2, new_m2, old_scale, new_scale, ratio;
};

/// Efficiency factors of the muon: nominal, systematic, three statistical ones.
class Efficiency {
public:
  explicit Efficiency(const std::map<std::string, Numbers> &tables)
      : eta(tables.at("sf_eta")), pt(tables.at("sf_pt")), table(tables.at("sf_table")) {}

  const double *operator()(const Muon &muon) const {
    const std::size_t n_eta = eta.size() - 1, n_pt = pt.size() - 1;
    const std::size_t i = (muon.charge > 0) * n_eta + nearest_bin(eta, muon.eta);
    return &table[(i * n_pt + nearest_bin(pt, muon.pt)) * n_factors];
  }

private:
  Numbers eta, pt, table;
};

/// All weights relative to nominal, in the order of wprops.
class Variations {
public:
  explicit Variations(const std::map<std::string, Numbers> &tables)
      : hessian(tables.at("hessian").begin(), tables.at("hessian").end()),
        up(tables.at("pole"), tables.at("pole")[4]),
        down(tables.at("pole"), -tables.at("pole")[4]) {
    if (hessian.size() != n_replicas * n_directions)
      throw std::runtime_error("the PDF matrix is not 100 x 60");
  }

  void operator()(double mass, const Floats &pdf, const double *factor,
                  const float *prefire, double *out) const {
    if (pdf.size() != n_replicas + 2)
      throw std::runtime_error("LHEPdfWeight does not have 102 entries");
    out[0] = 1.0;
    out[1] = up(mass);
    out[2] = down(mass);
    directions(pdf.data(), out + 3);
    double *rest = out + 3 + n_directions;
    rest[0] = pdf[n_replicas + 1];
    rest[1] = pdf[n_replicas];
    for (int k = 0; k < 3; ++k) {
      rest[2 + 2 * k] = 1.0 + factor[2 + k];
      rest[3 + 2 * k] = 1.0 - factor[2 + k];
    }
    rest[8] = 1.0 + factor[1];
    rest[9] = 1.0 - factor[1];
    rest[10] = double(prefire[1]) / prefire[0];
    rest[11] = double(prefire[2]) / prefire[0];
  }

private:
  /// 1 + sum_j T_jk (r_j - 1) in the precision of the file, four replicas at a time to
  /// spare loads and stores.
  void directions(const float *replica, double *out) const {
    static_assert(n_replicas % 4 == 0, "replicas come in fours");
    float sum[n_directions] = {};
    for (int j = 0; j < n_replicas; j += 4) {
      const float *row = &hessian[j * n_directions];
      const float a = replica[j] - 1.0f, b = replica[j + 1] - 1.0f;
      const float c = replica[j + 2] - 1.0f, d = replica[j + 3] - 1.0f;
      for (int k = 0; k < n_directions; ++k)
        sum[k] += a * row[k] + b * row[n_directions + k] +
                  c * row[2 * n_directions + k] + d * row[3 * n_directions + k];
    }
    for (int k = 0; k < n_directions; ++k)
      out[k] = 1.0 + sum[k];
  }

  std::vector<float> hessian;
  MassWeight up, down;
};

} // namespace
