using Microsoft.Extensions.Hosting;
using RestEase;

namespace Platform.Contracts;

/// <summary>Figures of one realm, or of all realms together.</summary>
/// <param name="Open">Incidents that are not closed.</param>
/// <param name="MeanSecondsToAcknowledge">MTTA over the stretch of time asked for; null when nothing was acknowledged in it.</param>
/// <param name="MeanSecondsToResolve">MTTR likewise.</param>
public sealed record IncidentCounts(long Open, long Opened, long Closed, double? MeanSecondsToAcknowledge, double? MeanSecondsToResolve);

public interface IIncidentsClient
{
    /// <param name="realm">A realm, or null for all.</param>
    /// <param name="from">Start of the stretch for everything but <see cref="IncidentCounts.Open"/>.</param>
    [Get("internal/incidents/counts")]
    Task<Envelope<IncidentCounts>> GetCountsAsync(
        [Query] string? realm, [Query(Format = "O")] DateTimeOffset? from, [Query(Format = "O")] DateTimeOffset? to, CancellationToken ct);
}

public static class IncidentsClient
{
    public static IHostApplicationBuilder AddIncidentsClient(this IHostApplicationBuilder builder) => builder.AddServiceClient<IIncidentsClient>("incidents");
}
