using Platform.Contracts;
using Platform.Health.Probes;

namespace Platform.Health.Tests;

public sealed class HealthDocumentTests
{
    [Theory]
    [InlineData("Healthy", HealthState.Healthy)]
    [InlineData("Degraded\n", HealthState.Degraded)]
    [InlineData("Unhealthy", HealthState.Unhealthy)]
    [InlineData("""{"status":"Degraded","totalDuration":"00:00:00.01","entries":{"npgsql":{"status":"Degraded","description":"slow"}}}""", HealthState.Degraded)]
    [InlineData("""{"status":"pass"}""", HealthState.Healthy)]
    [InlineData("""{"status":"warn","checks":{"disk:used":[{"status":"warn","output":"91 % full"}]}}""", HealthState.Degraded)]
    [InlineData("""{"status":"fail","output":"no database"}""", HealthState.Unhealthy)]
    [InlineData("""{"status":"UP","components":{"db":{"status":"UP"}}}""", HealthState.Healthy)]
    [InlineData("""{"status":"OUT_OF_SERVICE","components":{"db":{"status":"DOWN"}}}""", HealthState.Unhealthy)]
    public void The_known_shapes_say_how_a_target_is(string body, HealthState expected)
    {
        Assert.Equal(expected, HealthDocument.Read(body)!.State);
    }

    [Theory]
    [InlineData("")]
    [InlineData("It works!")]
    [InlineData("<html>Healthy</html>")]
    [InlineData("""{"status":200}""")]
    [InlineData("""{"status":"shipped"}""")]
    [InlineData("""{"orders":[1,2]}""")]
    [InlineData("""{"status":"fail" """)]
    [InlineData("""["fail"]""")]
    public void Anything_else_says_nothing(string body)
    {
        Assert.Null(HealthDocument.Read(body));
    }

    [Theory]
    [InlineData("""{"status":"Unhealthy","entries":{"npgsql":{"status":"Unhealthy","description":"refused"},"redis":{"status":"Healthy"}}}""", "It says unhealthy: npgsql (refused)")]
    [InlineData("""{"status":"warn","checks":{"disk:used":[{"status":"pass"},{"status":"warn","output":"91 % full"}]}}""", "It says degraded: disk:used (91 % full)")]
    [InlineData("""{"status":"fail","output":"no database"}""", "It says unhealthy: no database")]
    [InlineData("""{"status":"DOWN"}""", "It says unhealthy.")]
    public void The_reason_names_the_part_that_is_not_well(string body, string reason)
    {
        Assert.Equal(reason, HealthDocument.Read(body)!.Reason);
    }

    [Theory]
    [InlineData("Degraded", "Healthy", HealthState.Healthy)]
    [InlineData("Degraded", "Degraded", HealthState.Degraded)]
    [InlineData("Unhealthy", "Healthy", HealthState.Unhealthy)]
    public void A_part_that_has_a_check_of_its_own_does_not_degrade_the_whole(string redis, string other, HealthState expected)
    {
        var whole = redis == "Unhealthy" ? redis : "Degraded";
        var body = $$"""{ "status": "{{whole}}", "entries": { "StackExchange.Redis": { "status": "{{redis}}" }, "other": { "status": "{{other}}" } } }""";

        Assert.Equal(expected, HealthDocument.Read(body, ServiceProbe.Elsewhere)!.State);
    }
}
