using System.Globalization;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Compliance.Tests;

/// <summary>An export is checked with what its reader has: the document, SHA-256 and ECDSA. Nothing of the service's own code helps here.</summary>
public sealed class ExportTests(ComplianceServices services) : IClassFixture<ComplianceServices>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_export_verifies_without_the_platform()
    {
        var export = await ExportAsync("export-whole", 25);

        var faults = Faults(export);

        Assert.Empty(faults);
        Assert.Equal(25, export.GetProperty("count").GetInt32());
    }

    [Theory]
    [InlineData("\"outcome\":\"success\"", "\"outcome\":\"denied\"")]
    [InlineData("\"role\":\"moderator\"", "\"role\":\"admin\"")]
    [InlineData("\"seq\":5,", "\"seq\":6,")]
    public async Task An_export_that_was_altered_does_not(string before, string after)
    {
        var text = (await ExportAsync($"export-{Guid.NewGuid():N}", 8)).GetRawText();
        var at = text.IndexOf(before, StringComparison.Ordinal);

        var altered = text[..at] + after + text[(at + before.Length)..];

        Assert.NotEmpty(Faults(JsonElement.Parse(altered)));
    }

    [Fact]
    public async Task An_export_cut_short_does_not()
    {
        var export = await ExportAsync($"export-{Guid.NewGuid():N}", 6);
        var records = export.GetProperty("records").EnumerateArray().Select(record => record.GetRawText()).ToArray();
        var text = export.GetRawText();

        var altered = text.Replace("," + records[^1], "", StringComparison.Ordinal);

        Assert.Equal(["the head is not of the last record", "the count is wrong"], Faults(JsonElement.Parse(altered)));
    }

    private async Task<JsonElement> ExportAsync(string realm, int records)
    {
        var messages = Enumerable.Range(1, records).Select(i => new Audited(
            realm, $"key:{i}", "admin", "role.assigned", "user", $"user:{i}", AuditOutcome.Success, new DateTimeOffset(2026, 1, 15, 12, 0, 0, TimeSpan.Zero).AddTicks(i * 1234567),
            "203.0.113.9", "c-ä\"\n", null, i, new Dictionary<string, string> { ["role"] = "moderator", ["email"] = "x@example.org", ["reason"] = "😀 <b>\u0007" }));
        await services.SendAsync([.. messages]);
        await Eventually.TrueAsync(
            async () => await services.Db.FindAsync($"select count(*) from audit_records where realm = {realm}", row => row.GetInt64(0), Ct) == records, TimeSpan.FromSeconds(60), "all are chained");
        using var auditor = await services.World.ClientAsync(services.Service, Role.Auditor, realm);
        return await auditor.GetFromJsonAsync<JsonElement>("/api/v1/monitoring/audit/export", Ct);
    }

    private static List<string> Faults(JsonElement export)
    {
        var faults = new List<string>();
        var records = export.GetProperty("records").EnumerateArray().ToArray();
        string? prev = null;
        for (var i = 0; i < records.Length; i++)
        {
            var record = records[i];
            var prevHash = record.GetProperty("prev_hash").GetString()!;
            if (prev is not null && prev != prevHash)
            {
                faults.Add($"record {i} does not follow the one before");
            }

            byte[] hashed = [.. Convert.FromHexString(prevHash), .. Encoding.UTF8.GetBytes(Canonical(record))];
            prev = record.GetProperty("hash").GetString();
            if (Convert.ToHexStringLower(SHA256.HashData(hashed)) != prev)
            {
                faults.Add($"record {i} was altered");
            }
        }

        var head = export.GetProperty("head");
        using var key = ECDsa.Create();
        key.ImportFromPem(export.GetProperty("public_key").GetProperty("public_key").GetString());
        var signed = $$"""{"at":{{Time(head.GetProperty("at"))}},"count":{{head.GetProperty("count")}},"hash":"{{head.GetProperty("hash")}}","key_id":"{{head.GetProperty("key_id")}}","realm":"{{head.GetProperty("realm")}}","seq":{{head.GetProperty("seq")}}}""";
        if (!key.VerifyData(Encoding.UTF8.GetBytes(signed), head.GetProperty("signature").GetBytesFromBase64(), HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence))
        {
            faults.Add("the signature is wrong");
        }

        if (head.GetProperty("hash").GetString() != prev)
        {
            faults.Add("the head is not of the last record");
        }

        if (export.GetProperty("count").GetInt32() != records.Length)
        {
            faults.Add("the count is wrong");
        }

        return faults;
    }

    private static string Canonical(JsonElement record)
    {
        var commitments = record.GetProperty("commitments");
        var details = record.GetProperty("details").EnumerateObject().Where(detail => !commitments.TryGetProperty("details." + detail.Name, out _));
        var target = commitments.TryGetProperty("target_id", out _) ? "null" : Text(record.GetProperty("target_id"));
        return "{" + string.Join(',', [
            $"\"action\":{Text(record.GetProperty("action"))}",
            $"\"actor_role\":{Text(record.GetProperty("actor_role"))}",
            $"\"at\":{Time(record.GetProperty("at"))}",
            $"\"commitments\":{{{Members(commitments.EnumerateObject())}}}",
            $"\"correlation_id\":{Text(record.GetProperty("correlation_id"))}",
            $"\"count\":{record.GetProperty("count")}",
            $"\"details\":{{{Members(details)}}}",
            $"\"id\":{Text(record.GetProperty("id"))}",
            $"\"outcome\":{Text(record.GetProperty("outcome"))}",
            $"\"realm\":{Text(record.GetProperty("realm"))}",
            $"\"recorded_at\":{Time(record.GetProperty("recorded_at"))}",
            $"\"seq\":{record.GetProperty("seq")}",
            $"\"target_id\":{target}",
            $"\"target_type\":{Text(record.GetProperty("target_type"))}",
            $"\"trace_id\":{Text(record.GetProperty("trace_id"))}",
            "\"v\":1"]) + "}";
    }

    private static string Members(IEnumerable<JsonProperty> members) =>
        string.Join(',', members.OrderBy(member => member.Name, StringComparer.Ordinal).Select(member => $"\"{member.Name}\":{Text(member.Value)}"));

    private static string Text(JsonElement value) => value.ValueKind == JsonValueKind.Null ? "null"
        : "\"" + value.GetString()!.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)
            .Replace("\n", "\\n", StringComparison.Ordinal).Replace("\u0007", "\\u0007", StringComparison.Ordinal) + "\"";

    private static string Time(JsonElement value) =>
        "\"" + value.GetDateTimeOffset().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture) + "\"";
}
