using System.Diagnostics;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Contracts;
using Platform.Incidents.Timeline;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Lifecycle;

/// <summary>What became of a change: the incident as it is now, or why nothing was changed; both null when there is no such incident.</summary>
public readonly record struct ChangeOutcome(Incident? Incident, ProblemHttpResult? Refusal);

/// <summary>What people do to an incident: one transaction each, of the change, its timeline entry and its audit record.</summary>
public sealed class IncidentChanges(NpgsqlDataSource db, IncidentStore store, TimelineStore timeline, IncidentMetrics metrics, TimeProvider clock)
{
    /// <param name="action">What the audit log calls it.</param>
    /// <param name="id">Which incident.</param>
    /// <param name="change">What is wanted.</param>
    /// <param name="ifMatch">The entity tag that the caller has seen; empty when the caller does not care.</param>
    /// <param name="caller">Who wants it.</param>
    /// <param name="ct">Ends the attempt.</param>
    public async Task<ChangeOutcome> ApplyAsync(string action, Guid id, IncidentChange change, string ifMatch, Caller caller, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (await store.LockAsync(tx, id, ct) is not { } before)
        {
            return default;
        }

        if (caller.IsRefused(before) is { } refusal)
        {
            return new(null, refusal);
        }

        if (ifMatch is not ("" or "*") && !ifMatch.Split(',').Any(tag => tag.Trim() == $"\"{before.Version}\""))
        {
            return new(null, TypedResults.Problem(
                $"The incident has changed since: its entity tag is \"{before.Version}\", If-Match names {ifMatch}. Read it again and decide anew.",
                statusCode: StatusCodes.Status412PreconditionFailed, title: "Somebody else was faster."));
        }

        if (change.Status is { } wanted && Transitions.Objection(before.Status, wanted) is { } objection)
        {
            return new(null, Illegal(before.Status, wanted, objection));
        }

        var after = before.After(change, now);
        var changes = after.ChangesSince(before);
        if (changes.Count == 0)
        {
            return new(before, null);
        }

        after = await store.SaveAsync(tx, after, now, ct);
        await timeline.AddAsync(tx, Deeds.Entry(after, $"version {after.Version}", caller.Subject, Deeds.Title(changes), now, changes), ct);
        await tx.SendAsync(caller.Did(action, "incident", id.ToString(), now, after.Realm, changes), ct);
        await tx.CommitAsync(ct);
        if (after.Status is IncidentStatus.Closed && before.Status is not IncidentStatus.Closed)
        {
            metrics.Closed(1, byPolicy: false);
        }

        return new(after, null);
    }

    /// <summary>Writes down what somebody found or did. A closed incident takes notes too: that is when post-mortems are written.</summary>
    public async Task<ChangeOutcome> NoteAsync(Guid id, string text, Caller caller, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (await store.LockAsync(tx, id, ct) is not { } incident)
        {
            return default;
        }

        if (caller.IsRefused(incident) is { } refusal)
        {
            return new(null, refusal);
        }

        await timeline.AddAsync(tx, Deeds.Entry(incident, $"note {Guid.CreateVersion7(now)}", caller.Subject, "Note", now) with { Message = text }, ct);
        await tx.SendAsync(caller.Did("incident.noted", "incident", id.ToString(), now, incident.Realm), ct);
        await tx.CommitAsync(ct);
        return new(incident, null);
    }

    private static ProblemHttpResult Illegal(IncidentStatus from, IncidentStatus to, string objection) => TypedResults.Problem(
        objection,
        statusCode: StatusCodes.Status409Conflict,
        title: $"An incident cannot go from {from.Word()} to {to.Word()}.",
        extensions: new Dictionary<string, object?>
        {
            ["current"] = from.Word(),
            ["legal"] = Transitions.From(from).Select(status => status.Word()).ToArray(),
        });
}

/// <summary>How deeds are written down: on the timeline, and for the audit log when the platform itself is the actor.</summary>
internal static class Deeds
{
    /// <param name="incident">The incident after the deed.</param>
    /// <param name="key">Tells this deed from the others of the incident.</param>
    /// <param name="actor">Subject of the credential, or <see cref="Incident.System"/>.</param>
    /// <param name="title">The deed in a few words.</param>
    /// <param name="at">When.</param>
    /// <param name="facts">What changed.</param>
    public static NewEntry Entry(Incident incident, string key, string actor, string title, DateTimeOffset at, IReadOnlyDictionary<string, string>? facts = null) =>
        new($"{incident.Id}|{key}", incident.Realm, incident.Id, null, at, EntryKind.Action, actor, title)
        {
            Link = $"{IncidentsApi.Path}/{incident.Id}",
            Data = facts ?? new Dictionary<string, string>(),
        };

    /// <summary>The changes as one line: <c>status: open → investigating, root_cause: set</c>.</summary>
    public static string Title(IReadOnlyDictionary<string, string> changes) => string.Join(", ", changes.Select(change => $"{change.Key}: {change.Value}"));

    public static IReadOnlyDictionary<string, string> Summary(Incident incident) => new Dictionary<string, string>
    {
        ["title"] = incident.Title,
        ["severity"] = incident.Severity.Word(),
        ["status"] = incident.Status.Word(),
    };

    /// <summary>What the platform did by itself is as provable as what people did.</summary>
    public static Audited Audit(Incident incident, string action, DateTimeOffset at, IReadOnlyDictionary<string, string> details) => new(
        incident.Realm, Incident.System, "service", action, "incident", incident.Id.ToString(), AuditOutcome.Success, at,
        CorrelationId: Correlation.Current, TraceId: Activity.Current?.TraceId.ToString(), Details: details);
}
