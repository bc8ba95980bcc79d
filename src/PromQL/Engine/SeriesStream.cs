namespace Platform.PromQL;

/// <summary>The series of a source as they stream through a pipeline, on several threads when there are many.</summary>
/// <param name="threads">0: as many as there are processors.</param>
internal sealed class SeriesStream(ISeriesSource source, Budget budget, int threads, CancellationToken ct)
{
    /// <summary>Fewer series than this are not worth a second thread.</summary>
    private const int FewSeries = 64;

    /// <summary>Runs a pipeline over its series into sinks, one for each thread, and brings them together.</summary>
    public async Task<TSink> RunAsync<TSink>(Pipeline pipeline, Func<TSink> create)
        where TSink : Sink
    {
        var most = threads > 0 ? threads : Environment.ProcessorCount;
        var sinks = new List<TSink> { create() };
        var workers = new List<Worker> { new() };
        var before = budget.Held;
        await foreach (var batch in source.SelectAsync(pipeline.Selection, ct))
        {
            var parts = Math.Clamp(batch.Count / FewSeries, 1, most);
            while (sinks.Count < parts)
            {
                sinks.Add(create());
                workers.Add(new Worker());
            }

            // Each thread has a fixed part of the batch and a sink of its own: the result does not depend on who was faster.
            var others = new Task[parts - 1];
            for (var thread = 1; thread < parts; thread++)
            {
                var (from, to) = (batch.Count * thread / parts, batch.Count * (thread + 1) / parts);
                var (worker, sink) = (workers[thread], sinks[thread]);
                others[thread - 1] = Task.Run(() => Fill(pipeline, batch, from, to, worker, sink), ct);
            }

            try
            {
                Fill(pipeline, batch, 0, batch.Count / parts, workers[0], sinks[0]);
            }
            finally
            {
                await Task.WhenAll(others);
            }

            for (var thread = 1; thread < parts; thread++)
            {
                sinks[0].AfterBatch(sinks[thread]);
            }

            Account(workers, sinks, before);
        }

        for (var thread = 1; thread < sinks.Count; thread++)
        {
            sinks[0].Merge(sinks[thread]);
        }

        budget.Hold(before + sinks[0].Held);
        return sinks[0];
    }

    private void Fill(Pipeline pipeline, IReadOnlyList<Series> batch, int from, int to, Worker worker, Sink sink)
    {
        for (var index = from; index < to; index++)
        {
            ct.ThrowIfCancellationRequested();
            var column = sink.Room();
            var points = pipeline.Stage.Fill(batch[index], column, worker);
            if (points > 0)
            {
                sink.Add(batch[index].Labels, pipeline.DropsName, column, points);
            }
        }
    }

    /// <summary>What the workers read and what the sinks hold, on top of what was held before.</summary>
    private void Account<TSink>(List<Worker> workers, List<TSink> sinks, long before)
        where TSink : Sink
    {
        var held = before;
        for (var thread = 0; thread < sinks.Count; thread++)
        {
            held += sinks[thread].Held + workers[thread].LongestSeries;
            budget.Read(workers[thread].SamplesRead);
            workers[thread].SamplesRead = 0;
        }

        budget.Hold(held);
    }
}
