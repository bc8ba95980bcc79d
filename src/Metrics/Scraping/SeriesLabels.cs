using Platform.PromQL;

namespace Platform.Metrics.Scraping;

/// <summary>From the labels that a target exposes to those of the series in the store. Used by one scrape at a time.</summary>
/// <param name="target">The labels of the target, <c>realm</c> among them.</param>
internal sealed class SeriesLabels(ScrapeJob job, Labels target)
{
    private readonly LabelSet _labels = new();

    /// <summary>The labels of the series in the store: those it exposes, those of the target, relabelled. False when relabelling drops it.</summary>
    public bool TryMake(List<KeyValuePair<string, string>> exposed, out Labels labels)
    {
        _labels.Clear();
        foreach (var (name, value) in exposed)
        {
            _labels[name] = value;
        }

        for (var index = 0; index < target.Count; index++)
        {
            var (name, value) = (target.NameAt(index), target.ValueAt(index));
            if (job.HonorLabels && name != "realm" && exposed.Exists(label => label.Key == name))
            {
                continue; // also when it is exposed as empty: then the series goes without
            }

            if (_labels[name] is { Length: > 0 } kept)
            {
                var other = "exported_" + name;
                while (_labels[other].Length > 0 || target[other].Length > 0)
                {
                    other = "exported_" + other;
                }

                _labels[other] = kept;
            }

            _labels[name] = value;
        }

        if (!RelabelStep.Apply(job.MetricRelabel, _labels) || _labels.Count == 0)
        {
            labels = Labels.Empty;
            return false;
        }

        // Whatever relabelling made of it.
        _labels["realm"] = job.Realm;
        labels = _labels.ToLabels();
        Check(labels);
        return true;
    }

    private void Check(Labels labels)
    {
        if (labels.Name.Length == 0)
        {
            throw new ScrapeException("a series has no name after relabelling");
        }

        if (job.LabelLimit > 0 && labels.Count > job.LabelLimit)
        {
            throw new ScrapeException($"label_limit exceeded (metric: {labels.Name}, number of labels: {labels.Count}, limit: {job.LabelLimit})");
        }

        for (var index = 0; index < labels.Count; index++)
        {
            var (name, value) = (labels.NameAt(index), labels.ValueAt(index));
            if (job.LabelNameLengthLimit > 0 && name.Length > job.LabelNameLengthLimit)
            {
                throw new ScrapeException($"label_name_length_limit exceeded (metric: {labels.Name}, label: {name}, length: {name.Length}, limit: {job.LabelNameLengthLimit})");
            }

            if (job.LabelValueLengthLimit > 0 && value.Length > job.LabelValueLengthLimit)
            {
                throw new ScrapeException($"label_value_length_limit exceeded (metric: {labels.Name}, label: {name}, length: {value.Length}, limit: {job.LabelValueLengthLimit})");
            }
        }
    }
}
