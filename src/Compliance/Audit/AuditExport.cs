using System.Text.Json;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

/// <summary>
/// An unbroken stretch of one chain as one JSON document, with the public key and a signed head of its last record: whoever holds the
/// document can verify it without the platform. Written page by page, so that its length costs no memory.
/// </summary>
internal static class AuditExport
{
    private const int PageSize = 500;

    public static async Task<IResult> ExportAsync(
        string? from, string? to, HttpContext http, Caller caller, AuditStore store, AuditReads reads, SignedHeads heads, TimeProvider clock, CancellationToken ct)
    {
        var (stretch, errors) = Stretch.Read(from, to, clock.GetUtcNow());
        if (stretch is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await reads.RecordAsync(caller, "export", ct);
        // A credential that sees all realms and names none exports the default one: a chain belongs to one realm.
        var realm = caller.RealmOfNewData;
        var (first, last) = await store.FindStretchAsync(realm, stretch.From, stretch.To, ct);
        http.Response.ContentType = "application/json";
        http.Response.Headers.ContentDisposition = $"attachment; filename=\"audit-{stretch.From:yyyyMMdd}-{stretch.To:yyyyMMdd}.json\"";

        await using var json = new Utf8JsonWriter(http.Response.BodyWriter);
        json.WriteStartObject();
        json.WriteString("format", "platform-audit-export/1");
        json.WriteString("realm", realm);
        json.WriteString("from", Time.Canonical(stretch.From));
        json.WriteString("to", Time.Canonical(stretch.To));
        json.WriteString("exported_at", Time.Canonical(clock.GetUtcNow()));
        Write(json, "public_key", AuditApi.Describe(await heads.GetPublicKeyAsync(ct)));
        json.WriteStartArray("records");
        var end = await WriteRecordsAsync(json, http, realm, first, last, store, ct);
        json.WriteEndArray();
        json.WriteNumber("count", first == 0 ? 0 : last - first + 1);
        Write(json, "head", end is null ? null : await heads.SignAsync(realm, end.Seq, end.Hash, ct));
        Write(json, "chain_head", await heads.FindNewestAsync(realm, ct));
        json.WriteEndObject();
        await json.FlushAsync(ct);
        return TypedResults.Empty;
    }

    // The last record written. A hole is left to show: closing it up would hide what verification is for.
    private static async Task<AuditRecord?> WriteRecordsAsync(
        Utf8JsonWriter json, HttpContext http, string realm, long first, long last, AuditStore store, CancellationToken ct)
    {
        AuditRecord? end = null;
        for (var next = first; first > 0 && next <= last; next = end!.Seq + 1)
        {
            var page = await store.PageAsync(realm, next, (int)Math.Min(PageSize, last - next + 1), ct);
            foreach (var opened in page.Where(opened => opened.Record.Seq <= last))
            {
                JsonSerializer.Serialize(json, AuditItem.Of(opened), WireJson.Options);
                end = opened.Record;
            }

            if (page.Count == 0 || page[^1].Record.Seq > last)
            {
                break;
            }

            await json.FlushAsync(ct);
            await http.Response.BodyWriter.FlushAsync(ct);
        }

        return end;
    }

    private static void Write<T>(Utf8JsonWriter json, string name, T value)
    {
        json.WritePropertyName(name);
        JsonSerializer.Serialize(json, value, WireJson.Options);
    }
}
