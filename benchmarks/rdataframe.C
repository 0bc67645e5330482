// The W+ templates of bench_rdataframe.py with RDataFrame, hand-tuned for one thread.
//
// Everything is compiled, so nothing is left to the interpreter. A column is only read
// for events that passed the cuts before. One pass per event: angles, components, all
// weights, then the outer product component x variation, which one of two sinks takes
// up: flat rows of all templates, or one TH2D per template.

#include "rdataframe.hpp"

#include <ROOT/RDataFrame.hxx>
#include <TH2D.h>
#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <memory>

namespace {

/// Where an event goes: charge, (|Y|, qT) cell or -1, (eta, pT) bin and values.
struct Place {
  int negative, boson, muon;
  double eta, pt;
};

/// Rows [component][variation], given out when a cell is first filled: a dense array
/// [charge, boson cell, muon cell] touches more pages, and the kernel clears each.
class FlatArray {
public:
  FlatArray(std::size_t boson_cells, std::size_t muon_cells)
      : n_boson(boson_cells), n_muon(muon_cells) {
    clear();
  }

  void fill(const Place &place, const double *component, const double *ratio) {
    double *row = signal.row(cell(place), n_components * n_variations);
    for (int k = 0; k < n_components; ++k)
      for (int v = 0; v < n_variations; ++v)
        row[k * n_variations + v] += component[k] * ratio[v];
  }

  void fill_outside(const Place &place, double weight, const double *ratio) {
    double *row = outside.row(cell_outside(place), n_variations);
    for (int v = 0; v < n_variations; ++v)
      row[v] += weight * ratio[v];
  }

  double content(const Place &place, int k, int v) const {
    const double *row = place.boson < 0 ? outside.rows[cell_outside(place)]
                                        : signal.rows[cell(place)];
    return row == nullptr ? 0.0 : row[k * n_variations + v];
  }

  void clear() {
    signal.clear(2 * n_boson * n_muon);
    outside.clear(2 * n_muon);
  }

private:
  struct Table {
    std::vector<double *> rows;
    std::vector<std::unique_ptr<double[]>> memory;
    std::size_t used = 0;

    double *row(std::size_t cell, std::size_t width) {
      constexpr std::size_t at_once = 1024;
      if (rows[cell] == nullptr) {
        if (used % at_once == 0)
          memory.push_back(std::make_unique<double[]>(at_once * width));
        rows[cell] = &memory.back()[used++ % at_once * width];
      }
      return rows[cell];
    }

    void clear(std::size_t n_cells) {
      rows.assign(n_cells, nullptr);
      memory.clear();
      used = 0;
    }
  };

  std::size_t cell(const Place &place) const {
    return (place.negative * n_boson + place.boson) * n_muon + place.muon;
  }

  std::size_t cell_outside(const Place &place) const {
    return place.negative * n_muon + place.muon;
  }

  std::size_t n_boson, n_muon;
  Table signal, outside;
};

/// One TH2D with errors per charge, boson cell, component and variation, made when
/// first filled.
class Histograms {
public:
  Histograms(std::size_t boson_cells, const Numbers &eta_edges, const Numbers &pt_edges)
      : n_boson(boson_cells), eta(eta_edges), pt(pt_edges),
        histograms(2 * (n_boson + 1) * n_components * n_variations) {
    TH1::AddDirectory(false);
  }

  void fill(const Place &place, const double *component, const double *ratio) {
    for (int k = 0; k < n_components; ++k)
      fill_component(place, k, component[k], ratio);
  }

  void fill_outside(const Place &place, double weight, const double *ratio) {
    fill_component(place, 0, weight, ratio);
  }

  double content(const Place &place, int k, int v) const {
    const auto &found = histograms[first(place, k) + v];
    const int n_pt = int(pt.size()) - 1;
    return found ? found->GetBinContent(place.muon / n_pt + 1, place.muon % n_pt + 1)
                 : 0.0;
  }

  void clear() {
    for (auto &histogram : histograms)
      if (histogram)
        histogram->Reset();
  }

private:
  std::size_t first(const Place &place, int k) const {
    const std::size_t boson = place.boson < 0 ? n_boson : place.boson;
    const std::size_t cell = place.negative * (n_boson + 1) + boson;
    return (cell * n_components + k) * n_variations;
  }

  void fill_component(const Place &place, int k, double weight, const double *ratio) {
    for (int v = 0; v < n_variations; ++v) {
      auto &histogram = histograms[first(place, k) + v];
      if (!histogram) {
        histogram = std::make_unique<TH2D>("", "", int(eta.size()) - 1, eta.data(),
                                           int(pt.size()) - 1, pt.data());
        histogram->Sumw2();
      }
      histogram->Fill(place.eta, place.pt, weight * ratio[v]);
    }
  }

  std::size_t n_boson;
  Numbers eta, pt;
  std::vector<std::unique_ptr<TH2D>> histograms;
};

const std::vector<std::string> cut_columns{
    "HLT_IsoMu24", "HLT_IsoTkMu24", "Flag_goodVertices", "Flag_globalTightHalo2016Filter",
    "Flag_HBHENoiseFilter", "Flag_HBHENoiseIsoFilter",
    "Flag_EcalDeadCellTriggerPrimitiveFilter"};
const std::vector<std::string> electron_columns{
    "Electron_pt", "Electron_eta", "Electron_deltaEtaSC", "Electron_dxy", "Electron_dz",
    "Electron_cutBased", "Electron_pfRelIso03_all"};
const std::vector<std::string> muon_columns{
    "Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge", "Muon_dxy", "Muon_dz",
    "Muon_pfRelIso04_all", "Muon_mediumId", "Muon_isPFcand"};
const std::vector<std::string> fill_columns{
    "muon", "genWeight", "L1PreFiringWeight_Nom", "L1PreFiringWeight_Up",
    "L1PreFiringWeight_Dn", "GenPart_pt", "GenPart_eta", "GenPart_phi", "GenPart_pdgId",
    "GenPart_genPartIdxMother", "GenPart_statusFlags", "LHEPdfWeight"};

/// Run over the first events of a file.
template <class Sink>
void run(const char *path, const std::map<std::string, Numbers> &tables,
              long long events, Sink &sink) {
  const Numbers &eta = tables.at("eta"), &pt = tables.at("pt");
  const Numbers &absy = tables.at("absy"), &qt = tables.at("qt");
  const int n_pt = int(pt.size()) - 1, n_qt = int(qt.size()) - 1;
  const double normalisation = tables.at("normalisation").at(0);
  const Components components(tables.at("truth"));
  const Variations variations(tables);
  const Efficiency efficiency(tables);

  const auto pass = [](bool mu, bool tk, bool a, bool b, bool c, bool d, bool e) {
    return (mu || tk) && a && b && c && d && e;
  };
  const auto high_mt = [](const Muon &muon, float met, float phi) {
    const double angle = std::sin(0.5 * (muon.phi - double(phi)));
    return 2.0 * std::sqrt(muon.pt * double(met)) * std::abs(angle) >= 40.0;
  };
  const auto fill = [&](const Muon &muon, float generated, float prefire, float up,
                        float down, const Floats &gen_pt, const Floats &gen_eta,
                        const Floats &gen_phi, const Ints &id, const Ints &mother,
                        const Ints &flags, const Floats &pdf) {
    int i, j;
    if (pick_leptons(id, mother, flags, i, j) == 0)
      throw std::runtime_error("a selected event has no W");
    const Decay decay =
        decay_of(gen_pt[i], gen_eta[i], gen_phi[i], gen_pt[j], gen_eta[j], gen_phi[j]);
    const int in_y = bin_of(absy, decay.absy), in_qt = bin_of(qt, decay.qt);
    const int boson = in_y < 0 || in_qt < 0 ? -1 : in_y * n_qt + in_qt;
    const int in_muon = bin_of(eta, muon.eta) * n_pt + bin_of(pt, muon.pt);
    const Place place{muon.charge < 0, boson, in_muon, muon.eta, muon.pt};
    const double *factor = efficiency(muon);
    const double weight = normalisation * generated * prefire * factor[0];
    const float prefirings[3] = {prefire, up, down};
    double ratio[n_variations], component[n_components];
    variations(decay.mass, pdf, factor, prefirings, ratio);
    if (boson < 0) {
      sink.fill_outside(place, weight, ratio);
      return;
    }
    components(decay, weight, component);
    sink.fill(place, component, ratio);
  };

  ROOT::RDataFrame frame("Events", path);
  ROOT::RDF::RNode chain = frame;
  if (events > 0)
    chain = chain.Range(0, events);
  chain.Filter(pass, cut_columns)
      .Filter(has_no_electron, electron_columns)
      .Define("muon", pick_muon, muon_columns)
      .Filter([](const Muon &muon) { return muon.found; }, {"muon"})
      .Filter(high_mt, {"muon", "MET_T1_pt", "MET_T1_phi"})
      .Foreach(fill, fill_columns);
}

/// Cells with content: their number, their indices, their [component][variation].
template <class Sink>
void write(std::ofstream &file, const Sink &sink, int first_boson, int n_boson,
           int n_muon, int components) {
  std::vector<std::int64_t> cells;
  Numbers rows;
  for (int cell = 0; cell < 2 * n_boson * n_muon; ++cell) {
    const int boson = first_boson + cell / n_muon % n_boson;
    const Place place{cell / n_muon / n_boson, boson, cell % n_muon, 0.0, 0.0};
    if (sink.content(place, 0, 0) == 0.0)
      continue;
    cells.push_back(cell);
    for (int k = 0; k < components; ++k)
      for (int v = 0; v < n_variations; ++v)
        rows.push_back(sink.content(place, k, v));
  }
  const std::int64_t size = std::int64_t(cells.size());
  file.write(reinterpret_cast<const char *>(&size), sizeof size);
  file.write(reinterpret_cast<const char *>(cells.data()), 8 * cells.size());
  file.write(reinterpret_cast<const char *>(rows.data()), 8 * rows.size());
}

/// CPU time of this process so far [s]: user, kernel.
std::pair<double, double> cpu_time() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval &t) { return t.tv_sec + 1e-6 * t.tv_usec; };
  return {seconds(usage.ru_utime), seconds(usage.ru_stime)};
}

/// Loop twice, of which the second time counts, and print what it took.
template <class Sink>
void measure(const char *path, const std::map<std::string, Numbers> &tables,
             long long events, Sink &&sink, const char *output) {
  run(path, tables, events, sink);
  sink.clear();
  const auto start = cpu_time();
  run(path, tables, events, sink);
  const auto stop = cpu_time();
  std::printf("RESULT %.6f %.6f\n", stop.first - start.first,
              stop.second - start.second);
  if (*output == '\0')
    return;
  const int n_boson = int((tables.at("absy").size() - 1) * (tables.at("qt").size() - 1));
  const int n_muon = int((tables.at("eta").size() - 1) * (tables.at("pt").size() - 1));
  std::ofstream file(output, std::ios::binary);
  write(file, sink, 0, n_boson, n_muon, n_components);
  write(file, sink, -1, 1, n_muon, 1);
}

} // namespace

/// Measure one design, "flat" or "histograms".
///
/// tables is the file of numbers that bench_rdataframe.py writes, events how many to
/// run over (0 for all), output where to put the sums ("" for nowhere).
void rdataframe(const char *design, const char *path, const char *tables,
                long long events, const char *output) {
  const auto read = read_tables(tables);
  const std::size_t n_boson = (read.at("absy").size() - 1) * (read.at("qt").size() - 1);
  const std::size_t n_muon = (read.at("eta").size() - 1) * (read.at("pt").size() - 1);
  if (std::string(design) == "flat")
    measure(path, read, events, FlatArray(n_boson, n_muon), output);
  else
    measure(path, read, events, Histograms(n_boson, read.at("eta"), read.at("pt")),
            output);
}
