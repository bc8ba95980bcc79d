using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Compliance.Audit;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Subjects;

/// <param name="Realms">Realms in which the subject was known and now is not.</param>
/// <param name="Values">Personal values that became unreadable.</param>
public sealed record Erased(IReadOnlyList<string> Realms, long Values, DateTimeOffset At);

/// <summary>Erases a person from the audit log: the key goes, and with it every value and every link between records. The chain stays valid.</summary>
public sealed class Erasure(NpgsqlDataSource db, AuditChain chain, SubjectKeys subjects, ComplianceMetrics metrics, TimeProvider clock)
{
    private const int Batch = 10_000;

    /// <param name="realm">One realm, or null for all.</param>
    /// <returns>Null when no realm in reach knows the subject.</returns>
    public async Task<Erased?> EraseAsync(string? realm, string subject, Caller caller, CancellationToken ct)
    {
        var realms = realm is not null ? [realm] : await db.QueryAsync($"select realm from audit_chains order by realm limit 10000", row => row.GetString(0), ct);
        var erased = new List<string>();
        long values = 0;
        foreach (var each in realms)
        {
            if (await EraseInAsync(each, subject, caller, ct) is { } count)
            {
                erased.Add(each);
                values += count;
            }
        }

        if (erased.Count == 0)
        {
            return null;
        }

        await ForgetAsync(ct);
        metrics.Erased();
        return new Erased(erased, values, clock.GetUtcNow());
    }

    // The number of values that became unreadable, or null when the realm does not know the subject.
    private async Task<long?> EraseInAsync(string realm, string subject, Caller caller, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);

        // Under the chain's lock nobody can be sealing a new value with the key that is about to go.
        await chain.LockHeadAsync(realm, tx, ct);
        if (await subjects.DestroyAsync(realm, subject, tx, ct) is not { } key)
        {
            return null;
        }

        var values = await tx.FindAsync($"select count(*) from audit_personal where key_id = {key}", row => row.GetInt64(0), ct);
        // The record of the erasure must not name whom it erased: the key's id says nothing any more.
        var details = new Dictionary<string, string> { ["values"] = values.ToString(System.Globalization.CultureInfo.InvariantCulture) };
        await tx.SendAsync(caller.Did("subject.erased", "subject_key", key.ToString(), clock.GetUtcNow(), realm, details), ct);
        await tx.CommitAsync(ct);
        return values;
    }

    /// <summary>Deletes the sealed values of destroyed keys. They are unreadable already; what goes is the link between them. Interrupted, it goes on at the next tick.</summary>
    public async Task ForgetAsync(CancellationToken ct)
    {
        while (await db.ExecuteAsync($"""
            delete from audit_personal where ctid = any(array(
                select p.ctid from subject_keys k join audit_personal p on p.key_id = k.id where k.destroyed_at is not null limit {Batch}))
            """, ct) > 0)
        {
        }
    }
}

public static class SubjectsApi
{
    public static IHostApplicationBuilder AddSubjects(this IHostApplicationBuilder builder)
    {
        builder.Services.AddSingleton<Erasure>();
        return builder;
    }

    public static IEndpointRouteBuilder MapSubjects(this IEndpointRouteBuilder app)
    {
        var subjects = app.MapGroup("/api/v1/monitoring/compliance/subjects").WithTags("Subjects").RequireAuthorization(Access.AdminWrite);
        subjects.MapPost("/{subject}/erase", EraseAsync);
        return app;
    }

    private static async Task<Results<Ok<Envelope<Erased>>, ProblemHttpResult>> EraseAsync(string subject, Caller caller, Erasure erasure, CancellationToken ct) =>
        await erasure.EraseAsync(caller.RealmFilter, subject, caller, ct) is { } erased
            ? TypedResults.Ok(Envelope.Of(erased))
            : TypedResults.Problem(
                "No realm in reach of the credential knows this subject, or it has been erased already. Give the subject as audit records show it, for example user:42.",
                statusCode: StatusCodes.Status404NotFound, title: "Unknown subject");
}
