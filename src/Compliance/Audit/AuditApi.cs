using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.WebUtilities;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

/// <summary>A record as it is shown: personal values in the clear, where they can still be read.</summary>
/// <param name="Erased">At least one personal value is gone for good; its field is null.</param>
public sealed record AuditItem(
    Guid Id, string Realm, long Seq, DateTimeOffset At, DateTimeOffset RecordedAt, string? Actor, string ActorRole, string Action, string TargetType, string? TargetId,
    string Outcome, int Count, string? SourceAddress, string? CorrelationId, string? TraceId, IReadOnlyDictionary<string, string?> Details, bool Erased,
    IReadOnlyDictionary<string, string> Commitments, string PrevHash, string Hash)
{
    public static AuditItem Of(OpenedRecord opened)
    {
        var (record, values) = opened;
        var personal = record.Commitments.Keys.ToDictionary(field => field, field => values.FirstOrDefault(value => value.Field == field)?.Value);
        var details = record.Details.ToDictionary(detail => detail.Key, detail => (string?)detail.Value);
        foreach (var (field, value) in personal.Where(value => value.Key.StartsWith("details.", StringComparison.Ordinal)))
        {
            details[field["details.".Length..]] = value;
        }

        return new AuditItem(
            record.Id, record.Realm, record.Seq, record.At, record.RecordedAt, personal.GetValueOrDefault("actor"), record.ActorRole, record.Action, record.TargetType,
            record.TargetId ?? personal.GetValueOrDefault("target_id"), record.Outcome, record.Count, personal.GetValueOrDefault("source_address"), record.CorrelationId,
            record.TraceId, details, personal.ContainsValue(null), record.Commitments, Convert.ToHexStringLower(record.PrevHash), Convert.ToHexStringLower(record.Hash));
    }
}

/// <param name="PublicKey">PEM, SubjectPublicKeyInfo.</param>
public sealed record AuditPublicKey(string KeyId, string Algorithm, string PublicKey);

public static class AuditApi
{
    private const int DefaultLimit = 100;
    private const int MaxLimit = 1_000;

    public static IHostApplicationBuilder AddAudit(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<CheckpointOptions>();
        builder.AddSettings<SealOptions>();
        builder.AddSettings<VerificationOptions>();
        builder.Services.AddSingleton<ComplianceMetrics>();
        builder.Services.AddSingleton<ServiceKeys>();
        builder.Services.AddSingleton<SubjectKeys>();
        builder.Services.AddSingleton<AuditChain>();
        builder.Services.AddSingleton<AuditStore>();
        builder.Services.AddSingleton<AuditReads>();
        builder.Services.AddSingleton<SignedHeads>();
        builder.Services.AddSingleton<CheckpointFile>();
        builder.Services.AddSingleton<Verification>();
        builder.Services.AddSingleton<SealHeads>();
        builder.Services.AddHostedService(services => services.GetRequiredService<SealHeads>());
        builder.Services.AddHostedService<VerifyRegularly>();
        builder.AddConsumer<Audited, AppendToChainOnAudited>();
        return builder;
    }

    public static IEndpointRouteBuilder MapAudit(this IEndpointRouteBuilder app)
    {
        var audit = app.MapGroup("/api/v1/monitoring/audit").WithTags("Audit").RequireAuthorization(Access.Audit);
        audit.MapGet("/", ListAsync);
        audit.MapGet("/{id:guid}", FindAsync);
        audit.MapGet("/verify", VerifyAsync);
        audit.MapGet("/public-key", PublicKeyAsync);
        audit.MapGet("/export", AuditExport.ExportAsync);
        return app;
    }

    private static async Task<Results<Ok<Envelope<Page<AuditItem>>>, ValidationProblem>> ListAsync(
        string? action, string? actor, string? target_type, string? target, string? outcome, string? from, string? to, int? limit, string? cursor,
        Caller caller, AuditStore store, AuditReads reads, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>();
        var filter = new AuditFilter(
            caller.RealmFilter, action, actor, target_type, target, outcome, Stretch.ReadTime("from", from, errors), Stretch.ReadTime("to", to, errors));
        if (outcome is not (null or "success" or "failure" or "denied"))
        {
            errors["outcome"] = [$"\"{outcome}\" is no outcome. Give success, failure or denied."];
        }

        if (limit is < 1 or > MaxLimit)
        {
            errors["limit"] = [$"{limit} is out of bounds. Give 1 to {MaxLimit}; the default is {DefaultLimit}."];
        }

        var before = Cursor.Read(cursor, errors);
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await reads.RecordAsync(caller, "list", ct);
        var wanted = limit ?? DefaultLimit;
        var found = await store.ListAsync(filter, before, wanted + 1, ct);
        var items = found.Take(wanted).Select(AuditItem.Of).ToList();
        return TypedResults.Ok(Envelope.Page(items, found.Count > wanted ? Cursor.Write(items[^1].At, items[^1].Id) : null));
    }

    private static async Task<Results<Ok<Envelope<AuditItem>>, NotFound, ProblemHttpResult>> FindAsync(
        Guid id, Caller caller, AuditStore store, AuditReads reads, CancellationToken ct)
    {
        if (await store.FindAsync(id, ct) is not { } found)
        {
            return TypedResults.NotFound();
        }

        if (!caller.Reaches(found.Record.Realm))
        {
            return Access.ForeignRealm(caller, found.Record.Realm);
        }

        await reads.RecordAsync(caller, "find", ct);
        return TypedResults.Ok(Envelope.Of(AuditItem.Of(found)));
    }

    private static async Task<Results<Ok<Envelope<AuditVerification>>, ValidationProblem>> VerifyAsync(
        long? from_seq, long? limit, Caller caller, AuditStore store, AuditReads reads, Verification verification, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>();
        if (from_seq < 1 || limit < 1)
        {
            errors[from_seq < 1 ? "from_seq" : "limit"] = ["The smallest value is 1."];
        }
        else if ((from_seq ?? limit) is not null && caller.SeesAllRealms)
        {
            errors["realm"] = ["from_seq and limit count within one chain. Name it with realm."];
        }
        else if (from_seq > 1 && from_seq > ((await store.FindHeadAsync(caller.Realm, ct))?.Seq ?? 0) + 1)
        {
            errors["from_seq"] = [$"The chain does not reach {from_seq}."];
        }

        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await reads.RecordAsync(caller, "verify", ct);
        return TypedResults.Ok(Envelope.Of(await verification.VerifyAllAsync(caller.RealmFilter, from_seq ?? 1, limit ?? long.MaxValue, ct)));
    }

    private static async Task<Ok<Envelope<AuditPublicKey>>> PublicKeyAsync(SignedHeads heads, CancellationToken ct) =>
        TypedResults.Ok(Envelope.Of(Describe(await heads.GetPublicKeyAsync(ct))));

    internal static AuditPublicKey Describe(byte[] publicKey) =>
        new(SignedHead.KeyIdOf(publicKey), "ECDSA P-256, SHA-256, ASN.1 DER", PemEncoding.WriteString("PUBLIC KEY", publicKey));

    private static class Cursor
    {
        public static string Write(DateTimeOffset at, Guid id) =>
            WebEncoders.Base64UrlEncode(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{at.UtcTicks}|{id}")));

        public static (DateTimeOffset At, Guid Id)? Read(string? cursor, Dictionary<string, string[]> errors)
        {
            if (string.IsNullOrEmpty(cursor))
            {
                return null;
            }

            try
            {
                if (Encoding.UTF8.GetString(WebEncoders.Base64UrlDecode(cursor)).Split('|') is [var ticks, var id])
                {
                    return (new DateTimeOffset(long.Parse(ticks, CultureInfo.InvariantCulture), TimeSpan.Zero), Guid.Parse(id));
                }
            }
            catch (Exception error) when (error is FormatException or OverflowException or ArgumentException)
            {
            }

            errors["cursor"] = ["This is no cursor of this list. Give next_cursor of the page before, or none for the first page."];
            return null;
        }
    }
}
